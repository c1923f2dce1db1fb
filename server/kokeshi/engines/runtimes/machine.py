"""What this machine can execute graphs on: processor, GPUs, and the libraries that load.

Nothing here imports a heavy package: the driver and TensorRT are asked through their C interfaces.
"""

import ctypes
import platform
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

CPU_INFO: Final = Path("/proc/cpuinfo")
TENSORRT_LIBRARIES: Final = (  # what ONNX Runtime's provider links, in the order of need
    "libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10",
)  # fmt: skip
# Instruction sets by which the speed and the rounding of a tuned graph differ between processors.
_FLAGS: Final = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "avx512_fp16",
    "amx_bf16", "amx_int8", "amx_fp16", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip
_DRIVER: Final = "libcuda.so.1"
_NAME_BYTES: Final = 256
_COMPUTE_CAPABILITY: Final = (75, 76)  # CU_DEVICE_ATTRIBUTE_: major, minor


@dataclass(frozen=True)
class Gpu:
    """One GPU that the CUDA driver shows."""

    name: str
    compute_capability: str  # "9.0"


@dataclass(frozen=True)
class Machine:
    """What graphs can run on."""

    processor: str  # model name
    flags: tuple[str, ...]  # instruction sets that matter
    gpus: tuple[Gpu, ...] = ()
    providers: frozenset[str] = frozenset({"CPUExecutionProvider"})  # built into ONNX Runtime
    onnxruntime: str = ""  # versions; empty: not installed
    openvino: str = ""
    tensorrt: str = ""

    @property
    def cpu(self) -> str:
        """What a choice that was measured on the processor holds for."""
        return f"{self.processor} ({' '.join(self.flags)})"

    @property
    def gpu(self) -> str:
        """What a choice that was measured on the GPU holds for; empty: there is none."""
        if not self.gpus:
            return ""
        return f"{self.gpus[0].name} (compute capability {self.gpus[0].compute_capability})"


@cache
def this_machine() -> Machine:
    """This machine; asked once for each process."""
    import onnxruntime

    processor, flags = read_cpu_info(CPU_INFO.read_text() if CPU_INFO.exists() else "")
    gpus = _gpus()
    return Machine(
        processor=processor,
        flags=flags,
        gpus=gpus,
        providers=frozenset(onnxruntime.get_available_providers()),
        onnxruntime=onnxruntime.__version__,
        openvino=_version("openvino"),
        tensorrt=_tensorrt() if gpus else "",
    )


def read_cpu_info(text: str) -> tuple[str, tuple[str, ...]]:
    """Model name, and those instruction sets that matter, of what /proc/cpuinfo says."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    flags = f"{fields.get('flags', '')} {fields.get('features', '')}".split()
    name = fields.get("model name") or platform.processor() or platform.machine()
    return name, tuple(flag for flag in _FLAGS if flag in flags)


def load_tensorrt() -> bool:
    """Loads TensorRT 10, from the loader's path or from its Python package; whether it is here.

    ONNX Runtime's provider links it by its bare name, which the package's folder is not on the
    loader's path for.
    """
    spec = find_spec("tensorrt_libs")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for library in TENSORRT_LIBRARIES:
        places = [*(str(Path(folder, library)) for folder in folders), library]
        if not any(_load(place) for place in places):
            return False
    return True


def _load(library: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return None


def _tensorrt() -> str:
    """Version of TensorRT; empty: it does not load."""
    if not load_tensorrt():
        return ""
    library = _load(TENSORRT_LIBRARIES[0]) or _load("libnvinfer.so")
    number = int(library.getInferLibVersion()) if library else 0  # 101600 is 10.16.0
    return f"{number // 10_000}.{number // 100 % 100}.{number % 100}" if number else "10"


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _gpus() -> tuple[Gpu, ...]:
    driver = _load(_DRIVER)
    count = ctypes.c_int()
    if driver is None or driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    return tuple(_gpu(driver, index) for index in range(count.value))


def _gpu(driver: ctypes.CDLL, index: int) -> Gpu:
    name = ctypes.create_string_buffer(_NAME_BYTES)
    driver.cuDeviceGetName(name, _NAME_BYTES, index)
    numbers = []
    for attribute in _COMPUTE_CAPABILITY:
        number = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, index)
        numbers.append(number.value)
    return Gpu(name.value.decode(), f"{numbers[0]}.{numbers[1]}")

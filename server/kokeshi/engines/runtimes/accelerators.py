"""From a configuration to execution providers with their options: pure functions.

The names and parameters are those of Triton's ONNX Runtime backend, so that a model folder means
the same on both. Defaults are Triton's, but for two of CUDA's: memory grows by what is asked for,
not by doubling, and convolutions are chosen by rule; a search would run inside the first request of
every new batch size.
https://github.com/triton-inference-server/onnxruntime_backend#readme
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kokeshi.engines.config import Accelerator, ModelConfig
from kokeshi.engines.runtimes.machine import Machine
from kokeshi.engines.runtimes.tensorrt import engine_options, translated
from kokeshi.errors import ArtefactError

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
TENSORRT: Final = "TensorrtExecutionProvider"
Options = dict[str, str]
Providers = tuple[tuple[str, Options], ...]

_ARENA: Final = {"0": "kNextPowerOfTwo", "1": "kSameAsRequested"}
_SEARCH: Final = {"0": "EXHAUSTIVE", "1": "HEURISTIC", "2": "DEFAULT"}
# Triton's older way to say them, among the parameters of the model, by number.
_OLDER: Final[Mapping[str, Mapping[str, str]]] = {
    "arena_extend_strategy": _ARENA,
    "cudnn_conv_algo_search": _SEARCH,
    "gpu_mem_limit": {},
    "do_copy_in_default_stream": {},
}
_CUDA_OPTIONS: Final = frozenset(
    {
        *_OLDER, "cudnn_conv1d_pad_to_nc1d", "cudnn_conv_use_max_workspace", "enable_cuda_graph",
        "enable_skip_layer_norm_strict_mode", "prefer_nhwc", "tunable_op_enable",
        "tunable_op_tuning_enable", "use_ep_level_unified_stream", "use_tf32",
    }
)  # fmt: skip
# The precision that a graph is computed in; of one that holds int8 scales, that of the rest.
OPENVINO_PRECISIONS: Final = {"FP32": "f32", "BF16": "bf16", "FP16": "f16", "INT8": "f32"}
_OPENVINO_HINTS: Final = ("LATENCY", "THROUGHPUT")


@dataclass(frozen=True)
class Plan:
    """What will execute a graph."""

    providers: tuple[Providers, ...] = (((CPU, {}),),)  # of each session, best first
    openvino: Options = field(default_factory=dict)  # its properties; empty: it is not used
    degraded: str = ""  # why it is not what was configured

    @property
    def builds_engine(self) -> bool:
        """Whether opening may take minutes."""
        return any(name == TENSORRT for name, _ in self.providers[0])


def plan(
    config: ModelConfig,
    machine: Machine,
    *,
    threads: int,
    digest: Callable[[], str] = str,
    cache_folder: Path | None = None,
) -> Plan:
    """Chooses what executes a graph.

    The GPU where the instance groups allow it and one is there, by the accelerators named and then
    CUDA; else the CPU, by OpenVINO where that is named. What this machine lacks is left out, and
    the plan says so.

    Args:
        config: of the model.
        machine: what can be had.
        threads: cores that one run may use.
        digest: gives the sha256 of the graph, for the cache of TensorRT engines.
        cache_folder: for engines; None: they are built at every start.

    Raises:
        ArtefactError: an accelerator, parameter or value is unknown, or contradicts the model.
    """
    accelerators = config.optimization.execution_accelerators
    on_gpu = _named(accelerators.gpu_execution_accelerator, ("tensorrt", "cuda"), "GPU")
    on_cpu = _named(accelerators.cpu_execution_accelerator, ("openvino",), "CPU")
    cuda = cuda_options(config, on_gpu.get("cuda", {}))
    tensorrt = translated(on_gpu["tensorrt"]) if "tensorrt" in on_gpu else None
    openvino = openvino_options(on_cpu["openvino"], threads) if "openvino" in on_cpu else {}

    kinds = {group.kind for group in config.instance_group}
    if kinds == {"KIND_CPU"}:
        return _on_cpu(openvino, machine)
    if not (machine.gpus and CUDA in machine.providers):
        asked = ", ".join(on_gpu) or ("a GPU" if "KIND_GPU" in kinds else "")
        return _on_cpu(openvino, machine, asked and f"configured for {asked}; {_no_gpu(machine)}")
    missing = "" if tensorrt is None else _no_tensorrt(machine)
    sessions: list[Providers] = []
    for device in _devices(config, machine):
        providers = [(CUDA, cuda), (CPU, {})]
        if tensorrt is not None and not missing:
            gpu = machine.gpus[device]
            engine = engine_options(config, tensorrt, gpu, machine, digest(), cache_folder)
            providers.insert(0, (TENSORRT, engine))
        sessions.append(_on_device(providers, device))
    return Plan(tuple(sessions), degraded=missing)


def _devices(config: ModelConfig, machine: Machine) -> list[int]:
    """The GPUs that the instance groups name, or the first."""
    devices = sorted({gpu for group in config.instance_group for gpu in group.gpus}) or [0]
    if devices[-1] >= len(machine.gpus):
        raise ArtefactError(f"there is no GPU {devices[-1]}; this machine has {len(machine.gpus)}")
    return devices


def _on_device(providers: Iterable[tuple[str, Options]], device: int) -> Providers:
    return tuple(
        (name, options if name == CPU else {"device_id": str(device), **options})
        for name, options in providers
    )


def _named(
    accelerators: tuple[Accelerator, ...], known: tuple[str, ...], kind: str
) -> dict[str, dict[str, str]]:
    """Parameters of each accelerator, by its name."""
    for accelerator in accelerators:
        if accelerator.name not in known:
            raise ArtefactError(
                f"execution accelerator {accelerator.name!r} is unknown; on a {kind} there are "
                f"{', '.join(map(repr, known))}"
            )
    return {accelerator.name: accelerator.parameters for accelerator in accelerators}


def cuda_options(config: ModelConfig, parameters: Mapping[str, str]) -> Options:
    """Options of the CUDA provider, but for the device.

    Raises:
        ArtefactError: a parameter or value is unknown.
    """
    options = {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"}
    for name in _OLDER.keys() & config.parameters.keys():
        options[name] = _from_number(name, config.parameters[name])
    for name, value in parameters.items():
        if name not in _CUDA_OPTIONS:
            raise ArtefactError(f"accelerator 'cuda' has no parameter {name!r}")
        options[name] = value
    return options


def _from_number(name: str, value: str) -> str:
    words = _OLDER[name]
    if not words:
        return value
    if value not in words:
        raise ArtefactError(f"parameter {name!r} is one of {', '.join(words)}, not {value!r}")
    return words[value]


def openvino_options(parameters: Mapping[str, str], threads: int) -> Options:
    """Properties of an OpenVINO model: the precision is always said, or it would choose its own.

    Raises:
        ArtefactError: a parameter or value is unknown.
    """
    asked = {"precision_mode": "FP32", "performance_hint": "LATENCY", "num_streams": "1"}
    for name, value in parameters.items():
        if name not in asked:
            raise ArtefactError(f"accelerator 'openvino' has no parameter {name!r}")
        asked[name] = value
    _check("precision_mode", asked["precision_mode"], OPENVINO_PRECISIONS)
    _check("performance_hint", asked["performance_hint"], _OPENVINO_HINTS)
    return {
        "INFERENCE_PRECISION_HINT": OPENVINO_PRECISIONS[asked["precision_mode"]],
        "PERFORMANCE_HINT": asked["performance_hint"],
        "NUM_STREAMS": asked["num_streams"],
        "INFERENCE_NUM_THREADS": str(threads),
    }


def _check(name: str, value: str, known: Mapping[str, str] | tuple[str, ...]) -> None:
    if value not in known:
        raise ArtefactError(f"{name} of 'openvino' is one of {', '.join(known)}, not {value!r}")


def _on_cpu(openvino: Options, machine: Machine, lacking: str = "") -> Plan:
    if openvino and not machine.openvino:
        missing = "configured for openvino, which is not installed"
        return Plan(degraded=f"{lacking or missing}: runs on ONNX Runtime's CPU provider")
    instead = "OpenVINO" if openvino else "ONNX Runtime's CPU provider"
    return Plan(openvino=openvino, degraded=lacking and f"{lacking}: runs on {instead}")


def _no_gpu(machine: Machine) -> str:
    if not machine.gpus:
        return "this machine has no GPU that the CUDA driver shows"
    return "the ONNX Runtime installed here is not built for CUDA"


def _no_tensorrt(machine: Machine) -> str:
    if TENSORRT not in machine.providers:
        why = "the ONNX Runtime installed here is not built for it"
    elif not machine.tensorrt:
        why = "its libraries do not load"
    else:
        return ""
    return f"configured for tensorrt, but {why}: runs on CUDA"

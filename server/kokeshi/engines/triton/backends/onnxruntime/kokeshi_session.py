"""Turns a model's configuration into a session of ONNX Runtime, as Triton's own backend reads it.

Keys and values are those of https://github.com/triton-inference-server/onnxruntime_backend. The one
difference: threads of a session do not spin while they wait, so models share the cores.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import onnxruntime

Config = Mapping[str, Any]  # a ModelConfig message as JSON
Provider = tuple[str, dict[str, str]]

GRAPH: Final = "model.onnx"
THREADS_VARIABLE: Final = "KOKESHI_THREADS"  # of a model whose configuration does not say
PROVIDERS: Final = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
CPU: Final = "CPUExecutionProvider"
ACCELERATORS: Final = {"gpu_execution_accelerator", "cpu_execution_accelerator"}
# Names that differ between Triton's configuration and ONNX Runtime; others are the same in both.
_TENSORRT_KEYS: Final = {
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
_PRECISIONS: Final = {
    "FP32": {},
    "FP16": {"trt_fp16_enable": "1"},
    "BF16": {"trt_bf16_enable": "1"},
    "INT8": {"trt_int8_enable": "1"},
}
_CUDA_SEARCH: Final = {"0": "EXHAUSTIVE", "1": "HEURISTIC", "2": "DEFAULT"}
_CUDA_GROWTH: Final = {"0": "kNextPowerOfTwo", "1": "kSameAsRequested"}
_BOOLEANS: Final = {"true": "1", "false": "0"}


def graph_path(folder: str, filename: str) -> str:
    """The graph of a version's folder.

    Raises:
        ValueError: the name leads out of the folder.
    """
    path = os.path.normpath(os.path.join(folder, filename or GRAPH))
    if os.path.dirname(path) != os.path.normpath(folder):
        raise ValueError(f"default_model_filename {filename!r} is not a name in the version folder")
    return os.path.join(path, GRAPH) if os.path.isdir(path) else path


def open_session(path: str, config: Config, kind: str, device: int) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    """A session on an instance's device.

    Args:
        path: file of the graph.
        config: the model's configuration.
        kind: of the instance, "CPU" or "GPU".
        device: number of the GPU.

    Raises:
        ValueError: the configuration asks for what this ONNX Runtime has not, or is not Triton's.
    """
    return onnxruntime.InferenceSession(
        path, _options(config), providers=_providers(config, kind, device)
    )


def parameter(config: Config, key: str, default: str = "") -> str:
    """A string of the configuration's `parameters`."""
    return str(config.get("parameters", {}).get(key, {}).get("string_value", default))


def _options(config: Config) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: failures are reported by exception
    options.intra_op_num_threads = _threads(config)
    options.inter_op_num_threads = _number(config, "inter_op_thread_count")
    modes = onnxruntime.ExecutionMode
    parallel = _number(config, "execution_mode")
    options.execution_mode = modes.ORT_PARALLEL if parallel else modes.ORT_SEQUENTIAL
    options.graph_optimization_level = _level(config)
    options.enable_cpu_mem_arena = _boolean(config, "enable_mem_arena")
    options.enable_mem_pattern = _boolean(config, "enable_mem_pattern")
    for entry in ("session.intra_op.allow_spinning", "session.inter_op.allow_spinning"):
        options.add_session_config_entry(entry, "0")
    key = "session.use_device_allocator_for_initializers"
    options.add_session_config_entry(key, parameter(config, key, "0"))
    return options


def _threads(config: Config) -> int:
    said = _number(config, "intra_op_thread_count") or int(os.environ.get(THREADS_VARIABLE, "0"))
    return said or len(os.sched_getaffinity(0))


def _number(config: Config, key: str) -> int:
    said = parameter(config, key, "0")
    if not (said.isascii() and said.isdecimal()):
        raise ValueError(f"parameter {key!r} must be a whole number, not {said!r}")
    return int(said)


def _boolean(config: Config, key: str) -> bool:
    said = parameter(config, key, "1").lower()
    if (said := _BOOLEANS.get(said, said)) not in {"0", "1"}:
        raise ValueError(f"parameter {key!r} must be 0 or 1, not {said!r}")
    return said == "1"


def _level(config: Config) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    levels = onnxruntime.GraphOptimizationLevel
    said = int(config.get("optimization", {}).get("graph", {}).get("level", 0))
    named = {-1: levels.ORT_ENABLE_BASIC, 1: levels.ORT_ENABLE_EXTENDED, 2: levels.ORT_DISABLE_ALL}
    return named.get(said, levels.ORT_ENABLE_ALL)


def _providers(config: Config, kind: str, device: int) -> Sequence[Provider]:
    """What executes the graph, best first: what the configuration asks for, then the device's."""
    wanted = _accelerators(config, "gpu" if kind == "GPU" else "cpu")
    providers = [_accelerator(one, device) for one in wanted]
    names = {name for name, _ in providers}
    cuda = PROVIDERS["cuda"]
    if kind == "GPU" and cuda not in names and cuda in onnxruntime.get_available_providers():
        providers.append((cuda, _cuda(config) | {"device_id": str(device)}))
    return [*providers, (CPU, {})]


def _accelerators(config: Config, device: str) -> Sequence[Config]:
    said = config.get("optimization", {}).get("execution_accelerators", {})
    for group in ACCELERATORS & set(said):
        for one in said[group]:
            _check_accelerator(one["name"])
    return list(said.get(f"{device}_execution_accelerator", ()))


def _check_accelerator(name: str) -> None:
    known = ", ".join(sorted(PROVIDERS))
    if name not in PROVIDERS:
        raise ValueError(f"unknown execution accelerator {name!r}, expected one of {known}")
    if PROVIDERS[name] not in onnxruntime.get_available_providers():
        present = ", ".join(onnxruntime.get_available_providers())
        raise ValueError(
            f"execution accelerator {name!r} is not in this build of ONNX Runtime "
            f"{onnxruntime.__version__}, which has {present}"
        )


def _accelerator(said: Config, device: int) -> Provider:
    name, parameters = said["name"], dict(said.get("parameters", {}))
    match name:
        case "tensorrt":
            return PROVIDERS[name], _tensorrt(parameters) | {"device_id": str(device)}
        case "cuda":
            return PROVIDERS[name], parameters | {"device_id": str(device)}
    return PROVIDERS[name], parameters


def _tensorrt(parameters: Mapping[str, str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for key, value in parameters.items():
        if key == "precision_mode":
            if value not in _PRECISIONS:
                raise ValueError(
                    f"precision_mode must be one of {', '.join(_PRECISIONS)}, not {value!r}"
                )
            options |= _PRECISIONS[value]
        else:
            options[_TENSORRT_KEYS.get(key, key)] = _BOOLEANS.get(value.lower(), value)
    return options


def _cuda(config: Config) -> dict[str, str]:
    """Options in the configuration's own parameters: the older way to say them."""
    said = {
        "cudnn_conv_algo_search": _CUDA_SEARCH.get(parameter(config, "cudnn_conv_algo_search")),
        "arena_extend_strategy": _CUDA_GROWTH.get(parameter(config, "arena_extend_strategy")),
        "gpu_mem_limit": parameter(config, "gpu_mem_limit"),
        "do_copy_in_default_stream": parameter(config, "do_copy_in_default_stream"),
    }
    return {key: value for key, value in said.items() if value}

"""TensorRT engines: which shapes they are built for, where they are kept, and under which key.

With explicit profiles ONNX Runtime builds an engine when the session opens, and no request that
the model takes has a shape that would make it build again.
https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from kokeshi.engines.config import ModelConfig, Tensor
from kokeshi.engines.runtimes.machine import Gpu, Machine
from kokeshi.errors import ArtefactError

PRECISIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "FP32": {},
    "FP16": {"trt_fp16_enable": "1"},
    "BF16": {"trt_bf16_enable": "1"},
    "INT8": {"trt_int8_enable": "1"},  # of a graph that holds its own scales
}
_RENAMED: Final = {  # Triton's parameters that ONNX Runtime calls otherwise
    "max_workspace_size_bytes": "trt_max_workspace_size",
    "int8_calibration_table_name": "trt_int8_calibration_table_name",
    "int8_use_native_calibration_table": "trt_int8_use_native_calibration_table",
}
_AS_THEY_ARE: Final = frozenset(
    {
        "trt_auxiliary_streams", "trt_build_heuristics_enable", "trt_builder_optimization_level",
        "trt_context_memory_sharing_enable", "trt_cuda_graph_enable", "trt_detailed_build_log",
        "trt_dla_core", "trt_dla_enable", "trt_engine_cache_enable", "trt_engine_cache_path",
        "trt_engine_cache_prefix", "trt_force_sequential_engine_build", "trt_force_timing_cache",
        "trt_layer_norm_fp32_fallback", "trt_max_partition_iterations", "trt_min_subgraph_size",
        "trt_profile_max_shapes", "trt_profile_min_shapes", "trt_profile_opt_shapes",
        "trt_sparsity_enable", "trt_tactic_sources", "trt_timing_cache_enable",
        "trt_timing_cache_path",
    }
)  # fmt: skip
# Of the cache itself, so no part of its key.
_OF_THE_CACHE: Final = ("trt_engine_cache_", "trt_timing_cache_", "trt_detailed_build_log")
_OFF: Final = ("0", "false", "False")
WORKSPACE_BYTES: Final = 1 << 30  # Triton's default


@dataclass(frozen=True)
class Profile:
    """The shapes of one input that an engine is built for."""

    name: str
    least: tuple[int, ...]
    best: tuple[int, ...]  # what it is tuned for
    most: tuple[int, ...]


def profiles(config: ModelConfig) -> tuple[Profile, ...]:
    """One profile for each input: 1 row, the preferred number, and `max_batch_size` rows.

    Raises:
        ArtefactError: an axis other than the batch has no length.
    """
    most = config.max_batch_size
    preferred = config.dynamic_batching.preferred_batch_size if config.dynamic_batching else ()
    best = min(max(preferred, default=most // 2) or 1, most)
    return tuple(_profile(tensor, best, most) for tensor in config.input)


def _profile(tensor: Tensor, best: int, most: int) -> Profile:
    axes = tensor.reshape.shape if tensor.reshape else tensor.dims
    if min(axes, default=1) < 1 or any(mark in tensor.name for mark in ":,"):
        raise ArtefactError(
            f"TensorRT builds engines for axes of known length, input {tensor.name!r} has "
            f"{list(axes)}; trt_profile_min_shapes, _opt_ and _max_ can name them"
        )
    if not most:  # the configuration's own axes are all there is
        return Profile(tensor.name, axes, axes, axes)
    least, tuned, largest = ((rows, *axes) for rows in (1, best, most))
    return Profile(tensor.name, least, tuned, largest)


def translated(parameters: Mapping[str, str]) -> dict[str, str]:
    """ONNX Runtime's options for the parameters of Triton's accelerator "tensorrt".

    Raises:
        ArtefactError: one is unknown.
    """
    options = {"trt_max_workspace_size": str(WORKSPACE_BYTES)}
    for name, value in parameters.items():
        if name == "precision_mode":
            options |= _precision(value)
        elif name in _RENAMED or name in _AS_THEY_ARE:
            options[_RENAMED.get(name, name)] = value
        else:
            raise ArtefactError(f"accelerator 'tensorrt' has no parameter {name!r}")
    return options


def _precision(value: str) -> Mapping[str, str]:
    if value not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise ArtefactError(f"precision_mode of 'tensorrt' is one of {known}, not {value!r}")
    return PRECISIONS[value]


def engine_options(
    config: ModelConfig,
    translated_options: Mapping[str, str],
    gpu: Gpu,
    machine: Machine,
    digest: str,
    cache_folder: Path | None,
) -> dict[str, str]:
    """Options of the provider with the profiles and the cache, but for the device.

    Engines are kept from one start to the next, unless the options say otherwise, in a folder of
    their own below `trt_engine_cache_path` or `cache_folder`; what layers take to run, which
    TensorRT measures, is shared by all.

    Args:
        config: of the model.
        translated_options: from `translated`.
        gpu: it is built for.
        machine: which versions build it.
        digest: sha256 of the graph.
        cache_folder: None: nothing is kept, unless the options name a folder.
    """
    options = dict(translated_options)
    if "trt_profile_min_shapes" not in options:
        options |= profile_options(profiles(config))
    base = options.pop("trt_engine_cache_path", "") or str(cache_folder or "")
    keep = options.pop("trt_engine_cache_enable", "1") not in _OFF
    if keep and base:
        key = cache_key(digest, gpu, machine, options)
        options.setdefault("trt_timing_cache_path", str(Path(base, "timing")))
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(Path(base, key)),
            "trt_timing_cache_enable": "1",
        }
    return options


def profile_options(shapes: tuple[Profile, ...]) -> dict[str, str]:
    """Profiles as ONNX Runtime takes them: "image:1x224x224x3,mask:1x224x224"."""

    def joined(which: str) -> str:
        return ",".join(
            f"{profile.name}:{'x'.join(map(str, getattr(profile, which)))}" for profile in shapes
        )

    return {
        "trt_profile_min_shapes": joined("least"),
        "trt_profile_opt_shapes": joined("best"),
        "trt_profile_max_shapes": joined("most"),
    }


def cache_key(digest: str, gpu: Gpu, machine: Machine, options: Mapping[str, str]) -> str:
    """Name of the folder of an engine: whatever it was built from and for changes it."""
    built_from = {
        "graph": digest,
        "gpu": [gpu.name, gpu.compute_capability],
        "tensorrt": machine.tensorrt,
        "onnxruntime": machine.onnxruntime,
        "options": {
            name: value for name, value in options.items() if not name.startswith(_OF_THE_CACHE)
        },
    }
    return sha256(json.dumps(built_from, sort_keys=True).encode()).hexdigest()[:32]

"""Writes `model.plan`, for Triton's TensorRT backend: an engine for this GPU and this TensorRT."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kokeshi.engines.config import ModelConfig
from kokeshi.engines.runtimes.tensorrt import PRECISIONS, WORKSPACE_BYTES, Profile, profiles
from kokeshi.errors import SetupError

if TYPE_CHECKING:
    import tensorrt

PLAN_FILE: Final = "model.plan"
BACKEND: Final = "tensorrt"  # Triton's, for config.pbtxt
_FLAGS: Final = {"FP16": ("FP16",), "BF16": ("BF16",), "INT8": ("INT8", "FP16")}


def write_plan(
    graph: Path,
    config: ModelConfig,
    target: Path,
    precision: str = "FP32",
    workspace_bytes: int = WORKSPACE_BYTES,
) -> None:
    """Builds an engine and writes it, whole or not at all; takes minutes.

    Args:
        graph: the ONNX file.
        config: its inputs and `max_batch_size` give the shapes.
        target: the file to write, `model.plan` in a version's folder.
        precision: "FP32", "FP16", "BF16", or "INT8" for a graph that holds its own scales.
        workspace_bytes: GPU memory that layers may use.

    Raises:
        SetupError: there is no TensorRT, or it refuses the graph; the message says why.
        ArtefactError: an axis other than the batch has no length.
    """
    if precision not in PRECISIONS:
        raise SetupError(f"precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
    shapes = profiles(config)
    built = _build(graph, shapes, precision, workspace_bytes)
    partial = target.with_name(f".{target.name}.partial")
    partial.write_bytes(built)
    partial.replace(target)


def _build(graph: Path, shapes: Sequence[Profile], precision: str, workspace_bytes: int) -> Any:  # noqa: ANN401 - tensorrt is untyped
    try:
        import tensorrt
    except ImportError as error:
        raise SetupError(
            f"a plan is built by TensorRT's Python package on a machine with a GPU: {error}; "
            "pip install 'tensorrt<11'"
        ) from None
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        reasons = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise SetupError(f"TensorRT refuses the graph: {reasons}")
    config = _settings(builder, shapes, precision, workspace_bytes)
    built = builder.build_serialized_network(network, config)
    if built is None:
        raise SetupError("TensorRT could not build an engine of the graph")
    return built


def _settings(
    builder: "tensorrt.Builder", shapes: Sequence[Profile], precision: str, workspace_bytes: int
) -> "tensorrt.IBuilderConfig":
    import tensorrt

    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, workspace_bytes)
    for flag in _FLAGS.get(precision, ()):
        config.set_flag(getattr(tensorrt.BuilderFlag, flag))
    profile = builder.create_optimization_profile()
    for shape in shapes:
        profile.set_shape(shape.name, shape.least, shape.best, shape.most)
    config.add_optimization_profile(profile)
    return config

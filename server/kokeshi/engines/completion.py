"""What Triton fills into a configuration that leaves things out.

From the graph: inputs, outputs, batch size; from its defaults: the rest. Where Kokeshi runs one
instance and Triton's ONNX Runtime backend would run two, one is what is written.

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md
"""

from collections.abc import Sequence
from typing import Any, Final

from kokeshi.engines.config import (
    BACKEND,
    GRAPH_FILE,
    DynamicBatching,
    ModelConfig,
    Tensor,
    message_of,
    parse_message,
    text_of,
)
from kokeshi.engines.runtimes import Value
from kokeshi.errors import ArtefactError

PLATFORM: Final = "onnxruntime_onnx"
DEFAULT_MAX_BATCH_SIZE: Final = 4  # Triton's own, for graphs that take batches of any size


def needs_graph(config: ModelConfig) -> bool:
    """Whether a configuration leaves out what only the graph can say."""
    return not (config.input and config.output)


def completed(
    config: ModelConfig, inputs: Sequence[Value], outputs: Sequence[Value]
) -> ModelConfig:
    """A configuration with the inputs and outputs of its graph where it has none of its own.

    Raises:
        ArtefactError: it says that the graph takes batches, and the graph says that it does not.
    """
    tensors = (*inputs, *outputs)
    if all(tensor.shape[:1] == (-1,) for tensor in tensors):
        config = _batched(config)
    elif config.max_batch_size:
        raise ArtefactError(
            f"max_batch_size is {config.max_batch_size}, and the graph takes no batches"
        )
    axes = 1 if config.max_batch_size else 0
    filled = {
        "input": config.input or _tensors(inputs, axes),
        "output": config.output or _tensors(outputs, axes),
    }
    return config.model_copy(update=filled)


def _batched(config: ModelConfig) -> ModelConfig:
    size = config.max_batch_size or DEFAULT_MAX_BATCH_SIZE
    batching = config.dynamic_batching
    if batching is None and size > 1:
        batching = DynamicBatching()
    return config.model_copy(update={"max_batch_size": size, "dynamic_batching": batching})


def _tensors(values: Sequence[Value], axes: int) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(name=value.name, data_type=value.data_type, dims=value.shape[axes:])
        for value in values
    )


def check_tensors(config: ModelConfig, inputs: Sequence[Value], outputs: Sequence[Value]) -> None:
    """Compares a configuration with its graph, which may have outputs that nobody asks for.

    Raises:
        ArtefactError: the graph has no such tensor, or it is of another type or shape.
    """
    missing = {value.name for value in inputs} - {tensor.name for tensor in config.input}
    if missing:
        raise ArtefactError(f"the configuration leaves out the graph's inputs {sorted(missing)}")
    batch = (-1,) if config.max_batch_size else ()
    for tensors, values in ((config.input, inputs), (config.output, outputs)):
        known = {value.name: value for value in values}
        for tensor in tensors:
            if tensor.name not in known:
                raise ArtefactError(f"the graph has no tensor {tensor.name!r}")
            _check(tensor, known[tensor.name], batch)


def _check(tensor: Tensor, value: Value, batch: tuple[int, ...]) -> None:
    dims = tensor.reshape.shape if tensor.reshape else tensor.dims
    wanted = (*batch, *dims)
    known = value.shape or wanted  # a graph may leave the shape of what it gives open altogether
    agree = len(wanted) == len(known) and all(
        -1 in pair or pair[0] == pair[1] for pair in zip(wanted, known, strict=True)
    )
    batches = not batch or known[0] == -1
    if tensor.data_type != value.data_type or not (agree and batches):
        raise ArtefactError(
            f"tensor {tensor.name!r} is {tensor.data_type} {list(wanted)} in the configuration "
            f"and {value.data_type} {list(value.shape)} in the graph"
        )


def whole_pbtxt(text: str, config: ModelConfig, *, on_gpu: bool) -> str:
    """The text of a configuration as Triton returns it: what was left out is written out.

    Args:
        text: of the config.pbtxt, with the fields that Kokeshi does not use.
        config: read from it and completed.
        on_gpu: what executes the graph is on one, where the configuration left that open.
    """
    message, filled = parse_message(text), message_of(config)
    for field in ("input", "output"):
        if not getattr(message, field):
            getattr(message, field).extend(getattr(filled, field))
    message.name, message.max_batch_size = config.name, config.max_batch_size
    if config.dynamic_batching and not config.dynamic_batching.preferred_batch_size:
        message.dynamic_batching.preferred_batch_size.append(config.max_batch_size)
    _fill_defaults(message)
    _fill_groups(message, on_gpu=on_gpu)
    return text_of(message)


def _fill_defaults(message: Any) -> None:  # noqa: ANN401 - tritonclient is untyped
    message.backend = message.backend or BACKEND
    message.platform = message.platform or PLATFORM
    message.default_model_filename = message.default_model_filename or GRAPH_FILE
    if not message.HasField("version_policy"):
        message.version_policy.latest.num_versions = 1
    for pinned in (
        message.optimization.input_pinned_memory,
        message.optimization.output_pinned_memory,
    ):
        if not pinned.ListFields():
            pinned.enable = True


def _fill_groups(message: Any, *, on_gpu: bool) -> None:  # noqa: ANN401 - tritonclient is untyped
    if not message.instance_group:
        message.instance_group.add(name=message.name)
    for position, group in enumerate(message.instance_group):
        group.name = group.name or f"{message.name}_{position}"
        group.count = group.count or 1
        if group.kind == group.KIND_AUTO:
            group.kind = group.KIND_GPU if on_gpu else group.KIND_CPU

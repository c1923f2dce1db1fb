"""The inputs and outputs of a graph, in the words of Triton's model configuration."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

DEFAULT_MAX_BATCH_SIZE: Final = 4  # what Triton's own backend takes where nothing is said

_TYPES: Final = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}


def complete(session: Any, config: Any) -> Any:  # noqa: ANN401 - untyped
    """Adds what a configuration leaves out, and batching where every tensor's first axis is free.

    Args:
        session: of ONNX Runtime.
        config: Triton's own record, changed in place.
    """
    said = config.as_dict()
    tensors = [*session.get_inputs(), *session.get_outputs()]
    batched = said["max_batch_size"] > 0
    if not (batched or said["input"] or said["output"]) and all(map(_is_batched, tensors)):
        config.set_max_batch_size(DEFAULT_MAX_BATCH_SIZE)
        config.set_dynamic_batching()
        batched = True
    for tensor in [] if said["input"] else session.get_inputs():
        config.add_input(_described(tensor, batched=batched))
    for tensor in [] if said["output"] else session.get_outputs():
        config.add_output(_described(tensor, batched=batched))
    return config


def check(session: Any, config: Mapping[str, Any]) -> None:  # noqa: ANN401 - untyped
    """Compares a configuration with the graph.

    Raises:
        ValueError: a name or type differs, or a tensor is of no type that can be served.
    """
    _check_group("input", session.get_inputs(), config["input"])
    _check_group("output", session.get_outputs(), config["output"])
    missing = {one.name for one in session.get_inputs()} - {one["name"] for one in config["input"]}
    if missing:
        raise ValueError(f"the configuration leaves out the inputs {sorted(missing)}")


def _check_group(group: str, tensors: Sequence[Any], said: Sequence[Mapping[str, Any]]) -> None:
    present = {tensor.name: _type(tensor) for tensor in tensors}
    for one in said:
        name, expected = one["name"], one["data_type"]
        if name not in present:
            raise ValueError(f"the graph has the {group}s {sorted(present)}, not {name!r}")
        if present[name] != expected:
            raise ValueError(
                f"{group} {name!r} is {present[name]} in the graph, {expected} in the configuration"
            )


def _is_batched(tensor: Any) -> bool:  # noqa: ANN401 - untyped
    return bool(tensor.shape) and not isinstance(tensor.shape[0], int)


def _described(tensor: Any, *, batched: bool) -> dict[str, Any]:  # noqa: ANN401 - untyped
    dims = [axis if isinstance(axis, int) else -1 for axis in tensor.shape]
    return {
        "name": tensor.name, "data_type": _type(tensor), "dims": dims[1:] if batched else dims
    }  # fmt: skip


def _type(tensor: Any) -> str:  # noqa: ANN401 - untyped
    if tensor.type not in _TYPES:
        raise ValueError(f"tensor {tensor.name!r} is {tensor.type}, which cannot be served")
    return _TYPES[tensor.type]

"""Turns one part of a method into an ONNX graph that takes uint8 images or token ids."""

import gc
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from kokeshi.contract import ImageInput, Meaning, Output
from kokeshi.engines.repository import DATA_FILE
from kokeshi.errors import PluginError
from kokeshi.plugin import Part

BATCH: Final = "batch"  # name of the only dynamic axis
_PAGE_BYTES: Final = 4096  # weights that begin on a page are mapped, not copied, by ONNX Runtime
_SMALL_BYTES: Final = 1024  # constants that stay in the graph: shape inference reads some of them
_CHATTY: Final = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "onnxslim")


class Graph(nn.Module):  # type: ignore[misc]  # torch is untyped
    """A part's module with the normalisation before it and the stored dtypes after it.

    Images: uint8 (N, height, width, 3). Token ids: int64 (N, context_length).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.module = part.module
        self.outputs = part.outputs
        self.is_image = isinstance(part.input, ImageInput)
        if isinstance(part.input, ImageInput):
            mean = torch.tensor(part.input.mean, dtype=torch.float64).view(3, 1, 1)
            std = torch.tensor(part.input.std, dtype=torch.float64).view(3, 1, 1)
            # (x / 255 - mean) / std as one multiplication and one addition
            self.register_buffer("scale", (1 / (255 * std)).float())
            self.register_buffer("shift", (-mean / std).float())

    def forward(self, rows: Tensor) -> tuple[Tensor, ...]:
        """Final outputs in the order of the part's contract."""
        if self.is_image:
            rows = rows.permute(0, 3, 1, 2).float() * self.scale + self.shift
        values = self.module(rows)
        return tuple(
            _stored(value, output) for value, output in zip(values, self.outputs, strict=True)
        )


def _stored(value: Tensor, output: Output) -> Tensor:
    return value.to(torch.uint8) if output.meaning is Meaning.LABEL_MAP else value


def write_onnx(
    graph: Graph, part: Part, example: Tensor, path: Path, opset: int, max_file_bytes: int
) -> None:
    """Writes the graph as an ONNX file with a dynamic batch axis; large weights beside it.

    Two exports of the same weights write the same bytes, because the fingerprint of an embedding
    space is made of them.

    Args:
        graph: in evaluation mode.
        part: its contract.
        example: a batch of at least two rows; one row would fix the batch axis.
        path: file to write, in a folder of its own.
        opset: ONNX operator set.
        max_file_bytes: of weights, beyond which they go into `DATA_FILE` in the same folder.

    Raises:
        PluginError: the module cannot be written as a graph.
    """
    import onnx
    import onnxslim

    try:
        with _quiet():
            model = onnxslim.slim(_traced(graph, part, example, opset))
            _strip(model)
            if _weight_bytes(model) > max_file_bytes:
                _move_weights_out(model, path.with_name(DATA_FILE))
            path.write_bytes(model.SerializeToString(deterministic=True))
            onnx.checker.check_model(path)
    except Exception as error:
        cause = error.__cause__ or error
        reason = str(cause).strip().partition("\n")[0]
        raise PluginError(
            f"part {part.role!r} cannot be written as a graph: {type(cause).__name__}: {reason}"
        ) from error
    gc.collect()  # torch's and the slimmer's graphs are cycles, which hold all weights once more


def _traced(graph: Graph, part: Part, example: Tensor, opset: int) -> Any:  # noqa: ANN401 - onnx is untyped
    program = torch.onnx.export(
        graph,
        (example,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        opset_version=opset,
        external_data=False,
        verbose=False,
    )
    _name(program.model.graph, [part.input.name], [output.name for output in part.outputs])
    return program.model_proto


def _name(graph: Any, inputs: list[str], outputs: list[str]) -> None:  # noqa: ANN401 - untyped
    """Gives inputs and outputs their contract's names.

    torch names inner values after its operators and lets an output take the name of one
    ("embedding"), which makes another graph of it; so the inner ones make way first.
    """
    for node in graph.all_nodes():
        for value in node.outputs:
            if value.name in {*inputs, *outputs}:
                value.name = f"inner_{value.name}"
    for values, names in ((graph.inputs, inputs), (graph.outputs, outputs)):
        for value, name in zip(values, names, strict=True):
            value.name = name


def _weight_bytes(model: Any) -> int:  # noqa: ANN401 - onnx is untyped
    from onnx.helper import tensor_dtype_to_np_dtype

    return sum(
        math.prod(tensor.dims) * tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in model.graph.initializer
    )


def _move_weights_out(model: Any, path: Path) -> None:  # noqa: ANN401 - onnx is untyped
    """Leaves in the graph where in a file its weights are: ONNX's external data."""
    from onnx.external_data_helper import set_external_data

    with path.open("wb") as file:
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) > _SMALL_BYTES:
                file.write(bytes(-file.tell() % _PAGE_BYTES))
                offset = file.tell()
                length = file.write(tensor.raw_data)
                set_external_data(tensor, path.name, offset, length)
                tensor.ClearField("raw_data")


def _strip(model: Any) -> None:  # noqa: ANN401 - onnx is untyped
    """Names the batch axis, and drops what differs between machines: source lines and paths."""
    _strip_graph(model.graph)
    del model.metadata_props[:]
    model.doc_string = ""
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
        axis = value.type.tensor_type.shape.dim[0]
        if not axis.HasField("dim_value"):
            axis.dim_param = BATCH


def _strip_graph(graph: Any) -> None:  # noqa: ANN401 - onnx is untyped
    del graph.value_info[:]
    del graph.metadata_props[:]
    for item in (*graph.node, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _strip_graph(attribute.g)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences torch's and ONNX's warnings to the user, who can do nothing about them."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

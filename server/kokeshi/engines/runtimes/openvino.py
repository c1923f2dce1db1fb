"""Graphs on OpenVINO, through its own package: the ONNX Runtime built on it excludes the plain one.

A graph of any batch size is as fast there as one of a fixed size, but the first run of each size
compiles for some tens of milliseconds. So the sizes that requests may merge to run at the start.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from queue import LifoQueue
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from kokeshi.engines.protocol import Tensors
from kokeshi.engines.runtimes.protocol import Progress, Value
from kokeshi.engines.runtimes.tensors import NUMPY_TYPES
from kokeshi.errors import ArtefactError, UnavailableError

if TYPE_CHECKING:
    from openvino import CompiledModel, InferRequest

WARM_UP_S: Final = 10.0  # beyond it no further batch size runs at the start
_PRECISION: Final = "INFERENCE_PRECISION_HINT"
_TYPES: Final = {  # OpenVINO's names, and Triton's
    "boolean": "TYPE_BOOL",
    "u8": "TYPE_UINT8",
    "u16": "TYPE_UINT16",
    "u32": "TYPE_UINT32",
    "u64": "TYPE_UINT64",
    "i8": "TYPE_INT8",
    "i16": "TYPE_INT16",
    "i32": "TYPE_INT32",
    "i64": "TYPE_INT64",
    "f16": "TYPE_FP16",
    "f32": "TYPE_FP32",
    "f64": "TYPE_FP64",
}


class OpenVinoRuntime:
    """See `Runtime`. Each of `concurrency` runs has a request of its own; more wait for one.

    Args:
        model: compiled for the CPU.
        concurrency: runs at once.
        degraded: why it is not what was configured.
    """

    def __init__(self, model: "CompiledModel", concurrency: int, degraded: str = "") -> None:
        self.inputs = _values(model.inputs)
        self.outputs = _values(model.outputs)
        self.providers = (f"OpenVINO CPU {_precision(model)}",)
        self.degraded = degraded
        self._closed = False
        self._idle: LifoQueue[InferRequest] = LifoQueue()
        for _ in range(concurrency):
            self._idle.put(model.create_infer_request())

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """See `Runtime.run`."""
        if self._closed:
            raise UnavailableError("the model was unloaded")
        request = self._idle.get()
        try:
            request.infer(dict(inputs), share_inputs=True)
            return {
                value.name: request.get_output_tensor(index).data.copy()
                for index, value in enumerate(self.outputs)
            }
        finally:
            self._idle.put(request)

    def close(self) -> None:
        """See `Runtime.close`."""
        self._closed = True
        while not self._idle.empty():
            self._idle.get_nowait()


def open_openvino(
    graph: Path, properties: Mapping[str, str], concurrency: int, degraded: str = ""
) -> OpenVinoRuntime:
    """Compiles a graph for the CPU.

    Where the processor cannot compute in the precision asked for, OpenVINO takes another, and what
    is opened says so.

    Args:
        graph: the ONNX file.
        properties: OpenVINO's.
        concurrency: runs at once.
        degraded: why it is not what was configured.
    """
    import openvino

    core = openvino.Core()
    model = core.compile_model(core.read_model(graph), "CPU", dict(properties))
    asked, got = properties[_PRECISION], _precision(model)
    if asked != got:
        other = f"configured for {asked} on OpenVINO, which computes in {got} on this processor"
        degraded = f"{degraded}; {other}" if degraded else other
    return OpenVinoRuntime(model, concurrency, degraded)


def run_every_size(runtime: OpenVinoRuntime, most: int, progress: Progress | None = None) -> None:
    """Runs blank rows in every batch size, 1 and the largest first, for up to `WARM_UP_S`."""
    if any(-1 in value.shape[1:] for value in runtime.inputs):
        return
    end_s = time.monotonic() + WARM_UP_S
    for done, rows in enumerate(_sizes(most), start=1):
        runtime.run({value.name: _blank(value, rows) for value in runtime.inputs})
        if progress is not None:
            progress(done / most)
        if time.monotonic() > end_s:
            return


def _precision(model: "CompiledModel") -> str:
    """What it computes in: "f32"."""
    return str(model.get_property(_PRECISION).get_type_name())


def _sizes(most: int) -> Iterator[int]:
    yield 1
    if most > 1:
        yield most
    yield from range(2, most)


def _blank(value: Value, rows: int) -> NDArray[Any]:
    return np.zeros((rows, *value.shape[1:]), NUMPY_TYPES[value.data_type])


def _values(ports: Sequence[Any]) -> tuple[Value, ...]:
    """Inputs or outputs of a compiled model, as records.

    Raises:
        ArtefactError: one is of a type that is not served on OpenVINO.
    """
    found = []
    for port in ports:
        kind = port.get_element_type().to_string()
        if kind not in _TYPES:
            raise ArtefactError(f"OpenVINO takes no {kind}, as {port.get_any_name()!r} is")
        axes = [-1 if axis.is_dynamic else axis.get_length() for axis in port.get_partial_shape()]
        found.append(Value(port.get_any_name(), _TYPES[kind], tuple(axes)))
    return tuple(found)

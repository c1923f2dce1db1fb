"""Graphs on a GPU: tensors pass through pinned host memory that is bound to the session.

The GPU copies from and to pinned pages by itself; of others the driver would first make a copy.
"""

import ctypes
from collections.abc import Callable, Sequence
from queue import LifoQueue
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from kokeshi.engines.protocol import Tensors
from kokeshi.engines.runtimes.protocol import Value
from kokeshi.engines.runtimes.tensors import BF16, NUMPY_TYPES, STRING, values_of
from kokeshi.errors import InferenceError, UnavailableError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Buffer = NDArray[np.uint8]
Allocate = Callable[[int], Buffer]  # bytes wanted, to (bytes,)
_CUDA_RUNTIMES: Final = ("libcudart.so.13", "libcudart.so.12", "libcudart.so")


def can_be_bound(session: "InferenceSession") -> bool:
    """Whether every tensor has a numpy type and rows, and outputs are known but for their number.

    That the rows are as many on either side is for the caller to know.
    """
    inputs, outputs = values_of(session.get_inputs()), values_of(session.get_outputs())
    every = (*inputs, *outputs)
    rows = all(value.shape[:1] == (-1,) for value in every)
    known = all(min(value.shape[1:], default=1) > 0 for value in outputs)
    return rows and known and not {value.data_type for value in every} & {STRING, BF16}


class BoundRuntime:
    """See `Runtime`. Each of `concurrency` runs has buffers of its own; more wait for one.

    Args:
        session: one that `can_be_bound`.
        allocate: gives the memory of the buffers, which live as long as it does.
        concurrency: runs at once.
        degraded: why it is not what was configured.
    """

    def __init__(
        self, session: "InferenceSession", allocate: Allocate, concurrency: int, degraded: str = ""
    ) -> None:
        self._session: InferenceSession | None = session
        self.inputs = values_of(session.get_inputs())
        self.outputs = values_of(session.get_outputs())
        self.providers = tuple(session.get_providers())
        self.degraded = degraded
        self._idle: LifoQueue[dict[str, Buffer]] = LifoQueue()
        self._allocate = allocate
        for _ in range(concurrency):
            self._idle.put({})

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """See `Runtime.run`."""
        session = self._session
        if session is None:
            raise UnavailableError("the model was unloaded")
        buffers = self._idle.get()
        try:
            return self._run(session, buffers, inputs)
        finally:
            self._idle.put(buffers)

    def _run(
        self, session: "InferenceSession", buffers: dict[str, Buffer], inputs: Tensors
    ) -> dict[str, NDArray[Any]]:
        binding = session.io_binding()
        for value in self.inputs:
            staged = self._place(buffers, value, inputs[value.name].shape)
            np.copyto(staged, inputs[value.name], casting="no")
            binding.bind_cpu_input(value.name, staged)
        rows = _rows(self.inputs, inputs)
        places = {}
        for value in self.outputs:
            place = self._place(buffers, value, (rows, *value.shape[1:]))
            pointer = place.ctypes.data
            binding.bind_output(value.name, "cpu", 0, place.dtype.type, place.shape, pointer)
            places[value.name] = place
        session.run_with_iobinding(binding)
        return {name: place.copy() for name, place in places.items()}

    def _place(
        self, buffers: dict[str, Buffer], value: Value, shape: tuple[int, ...]
    ) -> NDArray[Any]:
        """An array over the buffer of a tensor, which grows to what it has to hold."""
        dtype = np.dtype(NUMPY_TYPES[value.data_type])
        needed = int(np.prod(shape)) * dtype.itemsize
        if value.name not in buffers or buffers[value.name].nbytes < needed:
            buffers[value.name] = self._allocate(needed)
        return buffers[value.name][:needed].view(dtype).reshape(shape)

    def close(self) -> None:
        """See `Runtime.close`."""
        self._session = None
        while not self._idle.empty():
            self._idle.get_nowait()


def _rows(values: Sequence[Value], inputs: Tensors) -> int:
    counts = {len(inputs[value.name]) for value in values}
    if len(counts) != 1:
        raise InferenceError(f"inputs have {sorted(counts)} rows")
    return counts.pop()


def pinned(size_bytes: int) -> Buffer:
    """Page-locked memory, freed with the array.

    Raises:
        MemoryError: the driver gives none.
        OSError: there is no CUDA runtime.
    """
    runtime = _cuda_runtime()
    pointer = ctypes.c_void_p()
    status = runtime.cudaHostAlloc(ctypes.byref(pointer), ctypes.c_size_t(max(1, size_bytes)), 0)
    if status or not pointer.value:
        raise MemoryError(f"{size_bytes} bytes of pinned memory: CUDA status {status}")
    return np.asarray(_Pinned(runtime, pointer.value, size_bytes))


class _Pinned:
    """Owner of page-locked memory: numpy keeps it as the base of the array."""

    def __init__(self, runtime: ctypes.CDLL, pointer: int, size_bytes: int) -> None:
        self._runtime = runtime
        self._pointer = pointer
        self.__array_interface__ = {
            "shape": (size_bytes,),
            "typestr": "|u1",
            "data": (pointer, False),
            "version": 3,
        }

    def __del__(self) -> None:
        self._runtime.cudaFreeHost(ctypes.c_void_p(self._pointer))


def _cuda_runtime() -> ctypes.CDLL:
    """The CUDA runtime that ONNX Runtime loaded, or another that the loader finds."""
    for name in _CUDA_RUNTIMES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise OSError(f"none of {', '.join(_CUDA_RUNTIMES)} can be loaded")

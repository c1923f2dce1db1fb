"""FAISS, imported where it is needed and held to one thread where it searches."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.errors import SetupError
from kokeshi.index.geometry import Geometry

_OF_THREAD: Final = threading.local()


def load_faiss() -> Any:  # noqa: ANN401 - FAISS is untyped
    """Imports FAISS.

    Raises:
        SetupError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise SetupError(
            "collections of this size need FAISS: install kokeshi[cpu] or kokeshi[gpu]"
        ) from error
    return faiss


def single_threaded() -> Any:  # noqa: ANN401 - FAISS is untyped
    """FAISS for a search: this thread alone computes.

    OpenMP keeps the number per calling thread, so it is set on each once. Every call lets go of the
    interpreter, and among threads that search takes up to 0.4 ms to have it back.
    """
    faiss = load_faiss()
    if not getattr(_OF_THREAD, "is_single", False):
        faiss.omp_set_num_threads(1)
        _OF_THREAD.is_single = True
    return faiss


@contextlib.contextmanager
def threaded(threads: int) -> Iterator[Any]:
    """FAISS for a build: so many threads compute for this one."""
    faiss = load_faiss()
    faiss.omp_set_num_threads(threads)
    _OF_THREAD.is_single = False
    try:
        yield faiss
    finally:
        single_threaded()


def metric_of(geometry: Geometry) -> int:
    """FAISS's number of the metric."""
    faiss = load_faiss()
    return int(faiss.METRIC_L2 if geometry.metric == "l2" else faiss.METRIC_INNER_PRODUCT)


def bits(allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """One bit per row, as FAISS's selector reads them."""
    return np.packbits(allowed, bitorder="little")

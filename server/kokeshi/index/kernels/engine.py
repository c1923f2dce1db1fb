"""FAISS, imported where it is needed and held to one thread where it searches."""

from typing import Any

import numpy as np
import numpy.typing as npt

from kokeshi.errors import SetupError
from kokeshi.index.geometry import Geometry


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

    FAISS keeps the number per calling thread, so it is set anew wherever a search may run.
    """
    faiss = load_faiss()
    faiss.omp_set_num_threads(1)
    return faiss


def metric_of(geometry: Geometry) -> int:
    """FAISS's number of the metric."""
    faiss = load_faiss()
    return int(faiss.METRIC_L2 if geometry.metric == "l2" else faiss.METRIC_INNER_PRODUCT)


def bits(allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """One bit per row, as FAISS's selector reads them."""
    return np.packbits(allowed, bitorder="little")

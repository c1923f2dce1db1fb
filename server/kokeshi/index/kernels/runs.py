"""Codes as FAISS scans them: views of the bytes, cut so that all threads have work.

FAISS's scalar quantiser with its signed bytes compares integers with integers at the speed of
memory, for which the query has to be integers too. It knows no step per row, so rows of one step
are scanned together: a selector tells them from the others.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.index.items import Vector
from kokeshi.index.kernels.engine import bits, load_faiss, single_threaded

RUN_ROWS: Final = 32_768  # that one task scans, most

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Run:
    """Rows of one step in a run of codes.

    Attributes:
        index: FAISS's view of the run.
        codes: the bytes that it views, which must outlive it.
        start: number of the run's first row among the codes.
        stop: number of the row after its last.
        step: of the rows that count here.
        chosen: one bit per row of the run, those of this step; None: all of them.
    """

    index: Any
    codes: Bytes
    start: int
    stop: int
    step: float
    chosen: Bytes | None

    def search(
        self, queries: Vector, k: int, allowed: Bytes | None
    ) -> tuple[Vector, npt.NDArray[np.int64]]:
        """Products with the codes and numbers of rows from `start`, (queries, k), best first.

        Args:
            queries: (queries, width) float32, contiguous, whole numbers from -128 to 127.
            k: at most the number of rows; -1 stands where fewer are allowed.
            allowed: one bit per row of the run; None: all.
        """
        faiss = single_threaded()
        selected = self.chosen if allowed is None else allowed
        if allowed is not None and self.chosen is not None:
            selected = allowed & self.chosen
        # the bits must outlive the selector, and the selector the search
        selector = None if selected is None else faiss.IDSelectorBitmap(selected)
        params = None if selector is None else faiss.SearchParameters(sel=selector)
        products = np.empty((len(queries), k), np.float32)
        found = np.empty((len(queries), k), np.int64)
        # what its `search` wraps: that costs 10 us more, in which no other thread can do anything
        pointer = faiss.swig_ptr
        self.index.search_c(
            len(queries), pointer(queries), k, pointer(products), pointer(found), params
        )
        return products, found


def runs_of(codes: Bytes, scales: Vector) -> tuple[Run, ...]:
    """Runs of codes (n, width), contiguous, and steps (n,)."""
    return tuple(_runs(np.ascontiguousarray(codes), scales))


def _runs(codes: Bytes, scales: Vector) -> Iterator[Run]:
    for start in range(0, len(codes), RUN_ROWS):
        stop = min(start + RUN_ROWS, len(codes))
        index, steps = _viewed(codes[start:stop]), scales[start:stop]
        if np.all(steps == steps[0]):
            yield Run(index, codes, start, stop, float(steps[0]), None)
            continue
        for step in np.unique(steps).tolist():
            yield Run(index, codes, start, stop, step, bits(steps == step))


def _viewed(codes: Bytes) -> Any:  # noqa: ANN401 - FAISS is untyped
    """An index of inner products over bytes that it does not own."""
    faiss = load_faiss()
    kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
    index = faiss.IndexScalarQuantizer(codes.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    pointer, nobody = faiss.swig_ptr(codes), index.codes.owner
    index.codes = faiss.MaybeOwnedVectorUInt8.create_view(pointer, codes.nbytes, nobody)
    index.ntotal = len(codes)
    return index

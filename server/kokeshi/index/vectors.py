"""Vectors as they come from outside: what of them can be stored and compared."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.errors import InvalidRequestError
from kokeshi.index.geometry import EDGE
from kokeshi.index.items import Vector
from kokeshi.index.spec import CollectionSpec

# Squares of larger values overflow float32 sums over the longest vectors.
MAX_ABSOLUTE_VALUE: Final = 1e15


def as_array(values: npt.ArrayLike | None) -> npt.NDArray[Any]:
    """Values as an array of any kind.

    Raises:
        InvalidRequestError: they are lists of several lengths.
    """
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InvalidRequestError("vectors of one batch must have one length") from error


def as_float32(array: npt.NDArray[Any]) -> Vector:
    """Numbers as contiguous float32.

    Raises:
        InvalidRequestError: they are no numbers.
    """
    if array.dtype.kind not in "fiu":
        raise InvalidRequestError(f"vectors must be numbers, got {array.dtype.name}")
    with np.errstate(over="ignore"):  # an infinity is refused by the next check
        return np.ascontiguousarray(array, dtype=np.float32)


def first_bad_row(spec: CollectionSpec, rows: Vector) -> tuple[int, str] | None:
    """The first of some rows (n, length) that cannot be compared, and why; None: all can."""
    # the largest number of a row tells of NaN and infinity too
    peaks = np.maximum(rows.max(axis=1), -rows.min(axis=1))
    finite = np.isfinite(peaks)
    if not finite.all():
        return int(finite.argmin()), "holds NaN or infinity"
    if spec.metric == "cosine" and not peaks.all():
        return int(peaks.argmin()), "is all zero and has no direction"
    if spec.metric in {"l2", "ip"} and peaks.max() > MAX_ABSOLUTE_VALUE:
        return int(peaks.argmax()), f"holds values beyond {MAX_ABSOLUTE_VALUE:g}"
    if spec.metric == "hyperbolic":
        return _outside_ball(spec, rows)
    return None


def _outside_ball(spec: CollectionSpec, rows: Vector) -> tuple[int, str] | None:
    """Points so near to the edge that float32 cannot hold their order, or beyond it."""
    radii = np.sqrt(spec.curvature * np.square(rows, dtype=np.float64).sum(axis=1))
    if radii.max() <= 1 - EDGE:
        return None
    worst = int(radii.argmax())
    return worst, f"must lie within {1 - EDGE:g} of the ball's radius, got {radii[worst]:.7g} of it"

"""Triton's classification extension: the best classes of an output in words.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kokeshi.errors import InvalidRequestError

MAX_ELEMENTS: Final = 1_000_000  # of a row, as in Triton: they are sorted
_FLOATS: Final = frozenset({"FP32", "FP64"})
_TYPES: Final = _FLOATS | {f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)}


def classes(
    datatype: str, array: NDArray[Any], count: int, labels: Sequence[str], *, batched: bool
) -> NDArray[Any]:
    """The `count` highest values of each row, as b"value:index" or b"value:index:label".

    Args:
        datatype: the protocol's name of the output's type.
        array: (n, ...) where `batched`, else (...), which is one row.
        count: at least 1; clipped to the elements of a row.
        labels: by index; there may be fewer.
        batched: whether the first axis is of rows.

    Returns:
        (n, count) or (count,) bytes, highest first; of equal values the lower index is first.

    Raises:
        InvalidRequestError: values of this type have no order, or a row is too long.
    """
    if datatype not in _TYPES:
        raise InvalidRequestError(
            f"class result not available for output due to unsupported type {datatype!r}"
        )
    rows = array.reshape(len(array) if batched and array.ndim else 1, -1)
    if rows.shape[1] > MAX_ELEMENTS:
        raise InvalidRequestError(
            f"classification output tensor too large: {rows.shape[1]} elements, "
            f"at most {MAX_ELEMENTS}"
        )
    count = min(count, rows.shape[1])
    words = np.empty((len(rows), count), object)
    for row, values in enumerate(rows):
        for place, index in enumerate(_best(values, count)):
            words[row, place] = _word(datatype, values[index], int(index), labels)
    return words if batched else words[0]


def _best(values: NDArray[Any], count: int) -> NDArray[np.intp]:
    """Indices of the highest values, (count,)."""
    # reversed before and after, so that equal values keep their order
    backwards = np.argsort(values[::-1], kind="stable")
    return (len(values) - 1 - backwards)[::-1][:count]


def _word(datatype: str, value: Any, index: int, labels: Sequence[str]) -> bytes:  # noqa: ANN401 - a numpy scalar
    number = f"{float(value):f}" if datatype in _FLOATS else str(int(value))
    label = f":{labels[index]}" if index < len(labels) else ""
    return f"{number}:{index}{label}".encode()

"""Where each pixel of a model's input lies in the original picture, and the way back."""

from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kokeshi.contract import ImageInput, Interpolation, Resize

_ROWS_AT_A_TIME = 128  # a block of a float map stays in the cache


@dataclass(frozen=True)
class Geometry:
    """How a picture became a model's input. All figures are pixels.

    The picture was resized to (`resized_height`, `resized_width`), and the input shows the window
    of that whose first row and column are `top` and `left`; they are negative where it was padded.
    """

    original_height: int
    original_width: int
    resized_height: int
    resized_width: int
    top: int
    left: int
    height: int
    width: int


def plan(original_height: int, original_width: int, contract: ImageInput) -> Geometry:
    """How a picture of this size meets the contract.

    `shortest` rounds as torchvision's Resize(int) and CenterCrop do. `pad` rounds the other side
    to the nearest pixel, at least one.
    """
    height, width = contract.height, contract.width
    original = original_height, original_width
    if contract.resize is Resize.SQUASH:
        return Geometry(*original, height, width, 0, 0, height, width)
    if contract.resize is Resize.PAD:
        scale = min(height / original_height, width / original_width)
        fitted = (
            min(height, _nearest(original_height * scale)),
            min(width, _nearest(original_width * scale)),
        )
        return Geometry(*original, *fitted, 0, 0, height, width)
    resized = _shortest_side(original, contract.resize_size or min(height, width))
    top, left = _crop_start(resized[0], height), _crop_start(resized[1], width)
    return Geometry(*original, *resized, top, left, height, width)


def _nearest(length: float) -> int:
    return max(1, int(length + 0.5))


def _shortest_side(original: tuple[int, int], size: int) -> tuple[int, int]:
    """Source: torchvision.transforms.functional._compute_resized_output_size."""
    height, width = original
    if width <= height:
        return int(size * height / width), size
    return size, int(size * width / height)


def _crop_start(length: int, crop: int) -> int:
    """Pad, or round half to even. Source: torchvision.transforms.functional.center_crop."""
    if crop > length:
        return -((crop - length) // 2)
    return round((length - crop) / 2.0)


def restore_map(
    values: NDArray[Any],
    geometry: Geometry,
    interpolation: Literal[Interpolation.NEAREST, Interpolation.BILINEAR],
    fill: float = 0,
) -> NDArray[Any]:
    """Bring a model's map back onto the original picture.

    Sampling is that of torch's `interpolate` with `align_corners=False`: label maps take
    NEAREST, maps of floats BILINEAR. Nothing is taken from the padding.

    Args:
        values: (map_height, map_width), over the whole input; a coarser map than the input is fine.
        geometry: how the input was made.
        interpolation: NEAREST or BILINEAR.
        fill: value where the input did not show the picture: outside the crop.

    Returns:
        (original_height, original_width), of the dtype of `values`.
    """
    restored = np.full((geometry.original_height, geometry.original_width), fill, values.dtype)
    rows = _Axis(
        geometry.original_height,
        geometry.resized_height,
        geometry.top,
        geometry.height,
        values.shape[0],
    )
    columns = _Axis(
        geometry.original_width,
        geometry.resized_width,
        geometry.left,
        geometry.width,
        values.shape[1],
    )
    if interpolation is Interpolation.NEAREST:
        nearest = values[:, columns.nearest()]
        restored[rows.known, columns.known] = nearest[rows.nearest()]
    else:
        _write_bilinear(values, rows, columns, restored[rows.known, columns.known])
    return restored


class _Axis:
    """Along one side: which original pixels the input shows, and where they lie in the map."""

    def __init__(self, original: int, resized: int, start: int, shown: int, cells: int) -> None:
        centres = (np.arange(original) + 0.5) * (resized / original) - start  # input pixels
        inside = np.flatnonzero((centres >= 0) & (centres < shown))
        self.known = slice(inside[0], inside[-1] + 1) if inside.size else slice(0, 0)
        self._positions = centres[self.known] * (cells / shown)  # map cells
        # The cells that show the picture, not the padding.
        self._first = int(max(0, -start) * cells / shown)
        self._last = ceil(min(shown, resized - start) * cells / shown) - 1

    def nearest(self) -> NDArray[np.intp]:
        """Index of the cell under each known pixel."""
        return np.clip(np.floor(self._positions).astype(np.intp), self._first, self._last)

    def neighbours(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        """Indices of the cells on both sides of each known pixel, and the weight of the second."""
        positions = np.clip(self._positions - 0.5, self._first, self._last)
        below = np.floor(positions).astype(np.intp)
        weight = (positions - below).astype(np.float32)
        return below, np.minimum(below + 1, self._last), weight


def _write_bilinear(
    values: NDArray[Any], rows: _Axis, columns: _Axis, target: NDArray[Any]
) -> None:
    left, right, weight = columns.neighbours()
    wide = values[:, left] * (1 - weight) + values[:, right] * weight
    above, below, weight = rows.neighbours()
    weight = weight[:, None]
    for start in range(0, len(target), _ROWS_AT_A_TIME):
        block = slice(start, start + _ROWS_AT_A_TIME)
        np.add(
            wide[above[block]] * (1 - weight[block]),
            wide[below[block]] * weight[block],
            out=target[block],
            casting="same_kind",
        )

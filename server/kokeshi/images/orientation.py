"""EXIF orientation: how a stored picture is turned upright.

Only the orientation is read, and only from the first directory. Reading all of EXIF would follow
every offset that a hostile file cares to write.
"""

import struct
from typing import Final

from PIL import Image

_TAG: Final = 0x0112
_TRANSPOSES: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_orientation(exif: bytes) -> int:
    """The orientation that an EXIF block declares: 1 to 8, and 1 (upright) if it is unreadable.

    Source: EXIF 2.32 (CIPA DC-008), 4.6.4 A, and TIFF 6.0 for the directory.
    """
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        return _find_orientation(tiff, order)
    except struct.error:
        return 1


def _find_orientation(tiff: bytes, order: str) -> int:
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    (entries,) = struct.unpack_from(order + "H", tiff, start)
    for entry in range(entries):
        # tag, type, count, and the value itself: a SHORT stands where larger ones have an offset
        tag, _, _, value = struct.unpack_from(order + "HHIH", tiff, start + 2 + 12 * entry)
        if tag == _TAG:
            return value if value in _TRANSPOSES else 1
    return 1


def swaps_sides(orientation: int) -> bool:
    """Whether turning upright exchanges height and width."""
    return orientation >= 5  # noqa: PLR2004 - EXIF's 5 to 8 are the transposed four


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn a stored picture upright."""
    transpose = _TRANSPOSES.get(orientation)
    return image if transpose is None else image.transpose(transpose)


def upright_origin(orientation: int) -> tuple[bool, bool]:
    """Where the first stored pixel comes to lie: (on the right, at the bottom)."""
    return orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)

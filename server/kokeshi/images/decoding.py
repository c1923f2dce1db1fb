"""Bytes of a JPEG, PNG, WebP, BMP, TIFF or GIF to upright RGB pixels.

The header is read first, and a picture over the limits is refused before its pixels are allocated.
Of several frames the first counts. Whatever is wrong with a file, the answer is an
`InvalidImageError`: nothing of Pillow's escapes, neither exception nor warning.
"""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kokeshi.errors import InvalidImageError
from kokeshi.images.colour import to_rgb
from kokeshi.images.jpeg import decode_turbo, read_jpeg_header
from kokeshi.images.limits import DEFAULT_LIMITS, Limits, check_bytes, check_size
from kokeshi.images.orientation import read_orientation, turn_upright, upright_origin

_MAGIC: Final = (
    ("JPEG", re.compile(rb"\xff\xd8\xff")),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("WEBP", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("TIFF", re.compile(rb"II[*+]\0|MM\0[*+]")),
    ("BMP", re.compile(rb"BM")),
)
_BMP_RUN_LENGTH: Final = (1, 2)  # Pillow decodes these in Python, seconds for a few megabytes
_PILLOW_IS_QUIET: Final = ("ignore", None, Warning, re.compile(r"PIL\."), 0)


@dataclass(frozen=True)
class Decoded:
    """An upright picture, perhaps decoded at a reduced size.

    `height` and `width` are those of the full picture; `box` (left, top, right, bottom) is where
    the full picture lies in `image`. A reduced decode rounds the size up, so that it may cover less
    than the whole.
    """

    image: Image.Image
    height: int
    width: int
    box: tuple[float, float, float, float]


def full_size(_height: int, _width: int) -> int:
    """Divisor for `load` that reduces nothing."""
    return 1


def decode(data: bytes, limits: Limits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Decode a picture: uint8 (height, width, 3), RGB, upright by its EXIF orientation.

    Raises:
        InvalidImageError: not one of the six formats, damaged, incomplete or over the limits.
    """
    return np.array(load(data, limits).image)


def load(
    data: bytes,
    limits: Limits = DEFAULT_LIMITS,
    divisor: Callable[[int, int], int] = full_size,
) -> Decoded:
    """Decode a picture, a JPEG perhaps at a reduced size.

    Args:
        data: the bytes of the file.
        limits: what is refused by its header.
        divisor: from upright height and width to 1, 2, 4 or 8: by how much a JPEG may be reduced.

    Raises:
        InvalidImageError: not one of the six formats, damaged, incomplete or over the limits.
    """
    check_bytes(len(data), limits)
    name = _sniff(data)
    if name == "JPEG":
        return _load_jpeg(data, limits, divisor)
    image = _load_with_pillow(data, name, limits)
    if name != "TIFF":  # Pillow turns a TIFF itself: its orientation is part of the format
        image = turn_upright(image, read_orientation(image.info.get("exif", b"")))
    return _whole(image)


def _sniff(data: bytes) -> str:
    for name, magic in _MAGIC:
        if magic.match(data):
            return name
    raise InvalidImageError(
        "not an image that is accepted: expected JPEG, PNG, WebP, BMP, TIFF or GIF, "
        f"got bytes that begin with {data[:12]!r}"
    )


def _load_jpeg(data: bytes, limits: Limits, divisor: Callable[[int, int], int]) -> Decoded:
    header = read_jpeg_header(data, limits)
    reduced_by = divisor(*header.upright_size)
    pixels = decode_turbo(data, header, reduced_by)
    if pixels is None:
        image = _load_with_pillow(data, "JPEG", limits)
        return _whole(turn_upright(image, header.orientation))
    image = turn_upright(Image.fromarray(pixels), header.orientation)
    height, width = header.upright_size
    # The excess of rounding up lies right and below in the stored picture, and turns with it.
    right, bottom = upright_origin(header.orientation)
    left = image.width - width / reduced_by if right else 0.0
    top = image.height - height / reduced_by if bottom else 0.0
    box = (left, top, left + width / reduced_by, top + height / reduced_by)
    return Decoded(image, height, width, box)


def _whole(image: Image.Image) -> Decoded:
    width, height = image.size
    return Decoded(image, height, width, (0, 0, width, height))


def _load_with_pillow(data: bytes, name: str, limits: Limits) -> Image.Image:
    """Decode to mode RGB as stored; a TIFF comes upright."""
    _quieten_pillow()
    try:
        with Image.open(BytesIO(data), formats=[name]) as image:
            check_size(image.height, image.width, limits)
            if name == "BMP" and image.info.get("compression") in _BMP_RUN_LENGTH:
                raise InvalidImageError("a run-length encoded BMP is not accepted: send a PNG")
            image.load()
            return to_rgb(image)
    except InvalidImageError:
        raise
    except Image.DecompressionBombError as error:
        raise InvalidImageError(
            f"the {name} file declares more pixels than the {limits.max_pixels} that are accepted"
        ) from error
    except Exception as error:  # decoders raise a dozen classes, struct.error to MemoryError
        raise InvalidImageError(
            f"the {name} file is damaged, incomplete or of an unsupported kind"
        ) from error


def _quieten_pillow() -> None:
    """Ignore Pillow's warnings: they tell of files, and the file is the client's.

    `catch_warnings` would restore the filters of one thread under the feet of another; a filter
    that is only ever added is safe, and is added again where somebody reset the list.
    """
    if _PILLOW_IS_QUIET not in warnings.filters:
        warnings.filterwarnings("ignore", module=r"PIL\.")

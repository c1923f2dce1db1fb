"""How large an image may be, checked before anything is allocated for it."""

from dataclasses import dataclass
from typing import Final

from kokeshi.errors import InvalidImageError


@dataclass(frozen=True)
class Limits:
    """Bounds on one image.

    A 50-megapixel telephone picture (8192 x 6144) passes. Decoding takes 4 bytes a pixel (TIFF), 8
    or 9 (PNG, JPEG), 12 (CMYK) and at most 16 (WebP), so `max_pixels` bounds one thread to 1 GiB.
    Pillow itself refuses more than 178,956,970 pixels, whatever is set here.
    """

    max_bytes: int = 32 * 2**20
    max_pixels: int = 2**26  # 67,108,864
    max_side: int = 65_535  # JPEG's own; `max_pixels` binds long before, but for strips
    max_scans: int = 32  # of a progressive JPEG: 10 are usual, each costs a pass over all pixels


DEFAULT_LIMITS: Final = Limits()


def check_bytes(size: int, limits: Limits) -> None:
    """Refuse a file that is empty or too long.

    Raises:
        InvalidImageError: `size` is 0 or over `max_bytes`.
    """
    if not size:
        raise InvalidImageError("the image is empty: expected the bytes of an image file, got none")
    if size > limits.max_bytes:
        raise InvalidImageError(
            f"the image file has {size} bytes; at most {limits.max_bytes} are accepted"
        )


def check_size(height: int, width: int, limits: Limits) -> None:
    """Refuse a picture by the size that its header declares.

    Raises:
        InvalidImageError: no pixels, too many, or a side too long.
    """
    if height < 1 or width < 1:
        raise InvalidImageError(f"the image is {width} x {height} pixels: it has no pixels")
    if max(height, width) > limits.max_side:
        raise InvalidImageError(
            f"the image is {width} x {height} pixels; "
            f"a side of at most {limits.max_side} is accepted"
        )
    if height * width > limits.max_pixels:
        raise InvalidImageError(
            f"the image is {width} x {height} pixels; at most {limits.max_pixels} are accepted"
        )

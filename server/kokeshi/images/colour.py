"""Every pixel format that the six file formats hold, as RGB of 8 bits.

Alpha and transparent palette entries are dropped, not composited: the colour below them shows, as
it does for everybody who trains with `Image.convert("RGB")`. Colour profiles are ignored, likewise.
"""

from typing import Final

import numpy as np
from PIL import Image

from kokeshi.errors import InvalidImageError

_TIFF_BITS_PER_SAMPLE: Final = 258
_TIFF_PHOTOMETRIC: Final = 262
_PREMULTIPLIED: Final = {"RGBa": "RGBA", "La": "LA"}


def to_rgb(image: Image.Image) -> Image.Image:
    """A loaded picture of any mode as mode RGB.

    16-bit samples keep their high byte, in grey as in colour. CMYK is converted without a profile.

    Raises:
        InvalidImageError: 32-bit integers, floats, Lab: they have no agreed range or conversion.
    """
    if image.mode in ("I", "F", "LAB"):
        raise InvalidImageError(
            f"pixels of {_NAMES[image.mode]} have no agreed conversion to 8 bits: "
            "send 8 or 16 bits per channel, grey or colour"
        )
    if image.mode.startswith("I;16"):
        image = _high_byte(image)
    if image.mode in _PREMULTIPLIED:
        image = image.convert(_PREMULTIPLIED[image.mode])
    image.info.pop("transparency", None)  # else convert() would look for a free palette entry
    return image if image.mode == "RGB" else image.convert("RGB")


_NAMES: Final = {"I": "32-bit integers", "F": "floating point", "LAB": "Lab colour"}


def _high_byte(image: Image.Image) -> Image.Image:
    """16-bit grey as mode L: scaled, where Pillow's own conversion has clipped at 255."""
    tags = getattr(image, "tag_v2", {})  # of a TIFF, which may hold 12 bits in 16
    bits = tags.get(_TIFF_BITS_PER_SAMPLE, (16,))[0]
    grey = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
    # Pillow inverts 8-bit "white is zero" itself, but not 16-bit.
    return Image.fromarray(255 - grey if tags.get(_TIFF_PHOTOMETRIC) == 0 else grey)

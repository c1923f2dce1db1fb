"""From a picture to a model's input, pixel for pixel as torchvision does it.

The reference is torchvision's transforms on Pillow images. Uncompressed pixels and pictures decoded
at full size agree with it exactly. Two short cuts agree closely instead:

- A JPEG much larger than wanted is decoded at a half, a quarter or an eighth of its size, and never
  at less than `MARGIN` times the size wanted. On photographs the mean difference stays under 0.7
  levels of 255, 99 % of the values within 4. `reduced=False` turns it off.
- Where the resized picture would be far larger than the crop (a strip of 1 x 60,000 pixels), only
  the window of the crop is resized: within 2 levels, on noise.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kokeshi.contract import ImageInput, Interpolation
from kokeshi.errors import InvalidImageError
from kokeshi.images.decoding import Decoded, full_size, load
from kokeshi.images.geometry import Geometry, plan
from kokeshi.images.jpeg import DIVISORS
from kokeshi.images.limits import DEFAULT_LIMITS, Limits, check_size

# At 2, the mean difference on photographs doubles; at 3, a 12-megapixel picture for 256 pixels
# would be decoded at a half instead of a quarter.
MARGIN: Final = 2.5
_MOST_RESIZED: Final = 16  # times the pixels of the input, before only the window is resized
_SMALLEST_REDUCED: Final = 16  # pixels; below, libjpeg-turbo's reduced sizes coincide
_FILTERS: Final = {
    Interpolation.NEAREST: Image.Resampling.NEAREST,
    Interpolation.BILINEAR: Image.Resampling.BILINEAR,
    Interpolation.BICUBIC: Image.Resampling.BICUBIC,
    Interpolation.LANCZOS: Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Prepared:
    """A model's input, and the way back: uint8 (height, width, 3), RGB."""

    pixels: NDArray[np.uint8]
    geometry: Geometry


def preprocess(
    picture: bytes | NDArray[np.uint8],
    contract: ImageInput,
    *,
    limits: Limits = DEFAULT_LIMITS,
    reduced: bool = True,
) -> Prepared:
    """Make a model's input of an encoded picture, or of pixels.

    Args:
        picture: the bytes of an image file, or uint8 (H, W, 3) RGB.
        contract: what the model takes.
        limits: what is refused.
        reduced: whether a large JPEG may be decoded at a reduced size.

    Raises:
        InvalidImageError: not an image that is accepted, or pixels of another shape or dtype.
    """

    def divisor(height: int, width: int) -> int:
        return _divisor(plan(height, width, contract))

    if isinstance(picture, bytes):
        may_reduce = reduced and contract.interpolation is not Interpolation.NEAREST
        decoded = load(picture, limits, divisor if may_reduce else full_size)
    else:
        decoded = _from_pixels(picture, limits)
    geometry = plan(decoded.height, decoded.width, contract)
    image = _resize(decoded, geometry, _FILTERS[contract.interpolation])
    return Prepared(np.array(image), geometry)


def _from_pixels(pixels: NDArray[np.uint8], limits: Limits) -> Decoded:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:  # noqa: PLR2004 - RGB
        raise InvalidImageError(
            f"expected pixels of shape (height, width, 3) and type uint8, "
            f"got {pixels.shape} and {pixels.dtype}"
        )
    height, width = pixels.shape[:2]
    check_size(height, width, limits)
    return Decoded(Image.fromarray(pixels), height, width, (0, 0, width, height))


def _divisor(geometry: Geometry) -> int:
    """By how much a JPEG may be reduced and still keep `MARGIN` times the size wanted."""
    if min(geometry.original_height, geometry.original_width) < _SMALLEST_REDUCED:
        return 1
    spare = min(
        geometry.original_height / geometry.resized_height,
        geometry.original_width / geometry.resized_width,
    )
    return next((divisor for divisor in DIVISORS if spare >= MARGIN * divisor), 1)


def _resize(decoded: Decoded, geometry: Geometry, resample: Image.Resampling) -> Image.Image:
    """Resize and crop; what the crop has beyond the picture is black."""
    whole = decoded.image.size == (decoded.width, decoded.height)
    resized_pixels = geometry.resized_height * geometry.resized_width
    if not whole or resized_pixels > _MOST_RESIZED * geometry.height * geometry.width:
        return _resize_window(decoded, geometry, resample)
    resized = decoded.image.resize((geometry.resized_width, geometry.resized_height), resample)
    left, top = geometry.left, geometry.top
    return resized.crop((left, top, left + geometry.width, top + geometry.height))


def _resize_window(decoded: Decoded, geometry: Geometry, resample: Image.Resampling) -> Image.Image:
    left, right, x0, x1 = _window(
        geometry.left, geometry.width, geometry.resized_width, decoded.box[0::2]
    )
    top, bottom, y0, y1 = _window(
        geometry.top, geometry.height, geometry.resized_height, decoded.box[1::2]
    )
    # Rounding may carry the far edge out of the picture by a millionth of a pixel.
    box = (x0, y0, min(x1, decoded.image.width), min(y1, decoded.image.height))
    shown = decoded.image.resize((right - left, bottom - top), resample, box)
    canvas = Image.new("RGB", (geometry.width, geometry.height))
    canvas.paste(shown, (left - geometry.left, top - geometry.top))
    return canvas


def _window(
    start: int, length: int, resized: int, content: tuple[float, ...]
) -> tuple[int, int, float, float]:
    """The part of a crop that shows the picture: in resized pixels, and in those of the source."""
    first, last = max(0, start), min(resized, start + length)
    scale = (content[1] - content[0]) / resized
    return first, last, content[0] + first * scale, content[0] + last * scale

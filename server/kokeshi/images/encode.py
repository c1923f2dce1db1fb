"""Maps as PNG files: class ids under a palette, probabilities as grey."""

import zlib
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kokeshi.errors import InferenceError


def encode_png_label_map(
    label_map: NDArray[np.uint8], palette: NDArray[np.uint8] | None = None
) -> bytes:
    """A label map as a palette PNG: it shows in colours, and its pixel values are the class ids.

    Args:
        label_map: uint8 (H, W), class ids.
        palette: uint8 (up to 256, 3), RGB of each class; the colours of PASCAL VOC by default.
    """
    colours = np.zeros((256, 3), np.uint8)  # all 256: with fewer, Pillow packs the ids into less
    chosen = voc_palette() if palette is None else palette
    colours[: len(chosen)] = chosen
    image = Image.fromarray(np.ascontiguousarray(label_map))
    image.putpalette(colours.tobytes())
    return _save(image)


def encode_png_grey(values: NDArray[Any]) -> bytes:
    """A map of probabilities as an 8-bit grey PNG: 0 is black, 1 is white.

    Args:
        values: float (H, W) in [0, 1]; what lies outside is clipped.

    Raises:
        InferenceError: the map holds values that are not numbers.
    """
    if np.isnan(values).any():
        raise InferenceError("the model answered with a map that holds values that are not numbers")
    grey = np.clip(values * np.float32(255) + np.float32(0.5), 0, 255).astype(np.uint8)
    return _save(Image.fromarray(grey))


def _save(image: Image.Image) -> bytes:
    out = BytesIO()
    # Maps are runs of equal values: run-length matching finds them at the cost of the lowest level.
    image.save(out, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return out.getvalue()


@cache
def voc_palette() -> NDArray[np.uint8]:
    """Colours of 256 classes: uint8 (256, 3), RGB; neighbouring ids differ much, 0 is black.

    Source: the colour map of the PASCAL VOC development kit. Bits 0, 3 and 6 of the id become the
    highest bits of red, bits 1, 4 and 7 of green, bits 2 and 5 of blue.
    """
    ids = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        palette[:, bit % 3] |= (((ids >> bit) & 1) << (7 - bit // 3)).astype(np.uint8)
    palette.flags.writeable = False  # it is shared
    return palette

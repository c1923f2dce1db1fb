"""Pictures in, tensors out, maps back: everything a graph cannot do itself."""

from kokeshi.images.data_uri import from_base64
from kokeshi.images.decoding import decode
from kokeshi.images.encode import encode_png_grey, encode_png_label_map
from kokeshi.images.geometry import Geometry, restore_map
from kokeshi.images.limits import Limits
from kokeshi.images.pool import ImagePool
from kokeshi.images.preprocessing import Prepared, preprocess

__all__ = [
    "Geometry",
    "ImagePool",
    "Limits",
    "Prepared",
    "decode",
    "encode_png_grey",
    "encode_png_label_map",
    "from_base64",
    "preprocess",
    "restore_map",
]

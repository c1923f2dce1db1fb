"""JPEG: the header, and the decode at full or reduced size by libjpeg-turbo."""

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from kokeshi.errors import InvalidImageError
from kokeshi.images.limits import Limits, check_size
from kokeshi.images.orientation import read_orientation, swaps_sides

DIVISORS: Final = (8, 4, 2)  # the reduced sizes that libjpeg-turbo has vector code for
_SOS: Final = 0xDA
_APP1: Final = 0xE1
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15
_STANDALONE: Final = frozenset(range(0xD0, 0xDA)) | {0x01}  # RST, SOI, EOI, TEM: no length follows
_MAX_SEGMENTS: Final = 2048  # 32 MiB of full segments are 512
_MARKER: Final = re.compile(rb"\xff+([^\x00\xff])")
# SOS with a length and a component count that agree; entropy-coded data never holds FF DA.
_SCAN: Final = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
_NO_FRAME: Final = "the JPEG file is damaged or incomplete: it has no frame header"


@dataclass(frozen=True)
class JpegHeader:
    """What stands before the first scan. `height` and `width` are as stored."""

    height: int
    width: int
    components: int
    bits: int
    orientation: int

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width once turned upright."""
        size = self.height, self.width
        return size[::-1] if swaps_sides(self.orientation) else size


def read_jpeg_header(data: bytes, limits: Limits) -> JpegHeader:
    """Read the segments up to the first scan, and refuse what is over the limits.

    Raises:
        InvalidImageError: no frame, a picture too large, or too many scans.
    """
    frame, exif = _find_frame_and_exif(data)
    # ITU-T T.81, B.2.2: length, precision, lines, samples per line, components
    bits, height, width, components = (
        frame[2],
        int.from_bytes(frame[3:5], "big"),
        int.from_bytes(frame[5:7], "big"),
        frame[7],
    )
    check_size(height, width, limits)
    if len(_SCAN.findall(data)) > limits.max_scans:
        raise InvalidImageError(f"the JPEG file has more than {limits.max_scans} scans")
    return JpegHeader(height, width, components, bits, read_orientation(exif))


def _find_frame_and_exif(data: bytes) -> tuple[bytes, bytes]:
    frame, exif, position = b"", b"", 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None or (marker := found[1][0]) == _SOS:
            break
        start = position = found.end()
        if marker in _STANDALONE:
            continue
        position += max(2, int.from_bytes(data[start : start + 2], "big"))
        if marker in _FRAMES and not frame:
            frame = data[start:position]
        elif marker == _APP1 and not exif and data.startswith(b"Exif\0\0", start + 2):
            exif = data[start + 2 : position]
    if len(frame) < 8:  # noqa: PLR2004 - the fields that read_jpeg_header takes
        raise InvalidImageError(_NO_FRAME)
    return frame, exif


def decode_turbo(data: bytes, header: JpegHeader, divisor: int) -> NDArray[np.uint8] | None:
    """Decode a grey or colour JPEG, reduced by 1, 2, 4 or 8: uint8 (height, width, 3), RGB.

    Returns nothing where libjpeg-turbo has a complaint that is no reason to refuse, such as stray
    bytes between segments, or a kind that it does not take (CMYK, 12 bits): Pillow is the judge of
    those.

    Raises:
        InvalidImageError: the file ends early; it would be filled with grey.
    """
    if header.components not in (1, 3) or header.bits != 8:  # noqa: PLR2004 - grey, colour
        return None
    wanted = (-(-header.height // divisor), -(-header.width // divisor))
    height, width = wanted if divisor > 1 else (0, 0)
    try:
        pixels = simplejpeg.decode_jpeg(data, min_height=height, min_width=width)
    except (ValueError, KeyError, RuntimeError) as error:
        if "premature end" in str(error).lower():
            raise InvalidImageError("the JPEG file is incomplete: it ends early") from error
        return None
    return pixels if pixels.shape[:2] == wanted else None

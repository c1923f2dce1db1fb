"""Every file format and pixel format, as upright RGB."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from kokeshi.errors import InvalidImageError
from kokeshi.images import decode

HEIGHT, WIDTH = 37, 53


def gradient(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    ramps = [rows * 255 // (height - 1), columns * 255 // (width - 1), (rows * columns) % 256]
    return np.stack(ramps, axis=-1).astype(np.uint8)


def encode(image: Image.Image, file_format: str, **settings: object) -> bytes:
    out = io.BytesIO()
    image.save(out, file_format, **settings)
    return out.getvalue()


def difference(got: np.ndarray, expected: np.ndarray) -> float:
    assert got.shape == expected.shape
    assert got.dtype == np.uint8
    return float(np.abs(got.astype(int) - expected).max())


@pytest.mark.parametrize(
    ("file_format", "settings"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"big_tiff": True}),
    ],
)
def test_a_lossless_format_returns_the_pixels_that_were_saved(file_format, settings):
    data = encode(Image.fromarray(gradient()), file_format, **settings)
    assert np.array_equal(decode(data), gradient())


@pytest.mark.parametrize(
    ("mode", "settings"),
    [
        ("RGB", {}),
        ("RGB", {"subsampling": 0}),
        ("RGB", {"subsampling": 2}),
        ("RGB", {"progressive": True}),
        ("RGB", {"keep_rgb": True, "subsampling": 0}),
        ("L", {}),
        ("L", {"progressive": True}),
        ("CMYK", {}),
    ],
)
def test_a_jpeg_of_any_kind_returns_what_pillow_returns(mode, settings):
    data = encode(Image.fromarray(gradient()).convert(mode), "JPEG", **settings)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert difference(decode(data), expected) <= 1


def test_an_adobe_cmyk_jpeg_is_not_inverted():
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    assert difference(decode(encode(red, "JPEG")), np.full((16, 16, 3), (255, 0, 0))) <= 3


def test_an_adobe_ycck_jpeg_is_not_inverted():
    # Adobe stores 255 - ink, and YCCK holds 255 - that as Y, Cb, Cr: red, ink of (0, 255, 255), is
    # stored as the luma and chroma of (0, 255, 255), with 255 for no black.
    planes = (179, 171, 0, 255)
    stored = Image.merge("CMYK", [Image.new("L", (16, 16), 255 - plane) for plane in planes])
    data = bytearray(encode(stored, "JPEG", quality=95))
    adobe = data.find(b"Adobe")
    data[adobe + 11] = 2
    assert difference(decode(bytes(data)), np.full((16, 16, 3), (255, 0, 0))) <= 6


def test_the_first_frame_of_a_gif_counts():
    first, second = (Image.new("RGB", (20, 10), colour) for colour in ("red", "blue"))
    data = encode(first, "GIF", save_all=True, append_images=[second])
    assert np.array_equal(decode(data), np.asarray(first))


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_an_animation_counts(file_format):
    first, second = (Image.new("RGB", (20, 10), colour) for colour in ("red", "blue"))
    settings = {"lossless": True} if file_format == "WEBP" else {}
    data = encode(first, file_format, save_all=True, append_images=[second], **settings)
    assert np.array_equal(decode(data), np.asarray(first))


def test_a_jpeg_of_several_pictures_gives_the_first():
    first, second = (Image.new("RGB", (32, 16), colour) for colour in ("red", "blue"))
    data = encode(first, "MPO", save_all=True, append_images=[second])
    assert difference(decode(data), np.asarray(first)) <= 3


def test_alpha_is_dropped_and_the_colour_below_shows():
    rgba = np.dstack([gradient(), np.zeros((HEIGHT, WIDTH), np.uint8)])
    assert np.array_equal(decode(encode(Image.fromarray(rgba), "PNG")), gradient())


def test_grey_with_alpha_becomes_grey():
    grey = Image.fromarray(gradient()).convert("L")
    grey_alpha = Image.merge("LA", [grey, Image.new("L", grey.size, 7)])
    assert np.array_equal(decode(encode(grey_alpha, "PNG")), np.asarray(grey.convert("RGB")))


@pytest.mark.parametrize("transparency", [3, bytes([0, 128, 255])])
def test_a_palette_with_transparency_shows_its_colours(transparency):
    palette = Image.fromarray(gradient()).quantize(16)
    data = encode(palette, "PNG", transparency=transparency)
    assert np.array_equal(decode(data), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP"])
def test_one_bit_becomes_black_and_white(file_format):
    bits = Image.fromarray(gradient()).convert("1")
    assert np.array_equal(decode(encode(bits, file_format)), np.asarray(bits.convert("RGB")))


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(file_format):
    deep = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    pixels = decode(encode(Image.fromarray(deep), file_format))
    assert np.array_equal(pixels, np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, axis=2))


def png_of_16_bit_colour(samples: np.ndarray) -> bytes:
    """A PNG written by hand: Pillow cannot write 16-bit colour."""
    import zlib

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_sixteen_bit_colour_keeps_its_high_byte():
    deep = gradient().astype(np.uint16) * 257
    assert np.array_equal(decode(png_of_16_bit_colour(deep)), gradient())


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_a_tiff_whose_pixels_have_no_range_is_refused_with_advice(dtype):
    data = encode(Image.fromarray(np.zeros((4, 4), dtype)), "TIFF")
    with pytest.raises(InvalidImageError, match="send 8 or 16 bits per channel"):
        decode(data)


def test_a_tiff_where_white_is_zero_is_turned_round_at_16_bits_too():
    deep = np.array([[0, 65535]], np.uint16)
    data = encode(Image.fromarray(deep), "TIFF", tiffinfo={262: 0})
    assert decode(data)[0, :, 0].tolist() == [255, 0]


def with_orientation(image: Image.Image, file_format: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    settings = {"lossless": True} if file_format == "WEBP" else {}
    return encode(image, file_format, exif=exif, **settings)


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", list(UPRIGHT))
def test_the_exif_orientation_is_applied(file_format, orientation):
    data = with_orientation(Image.fromarray(gradient()), file_format, orientation)
    assert np.array_equal(decode(data), UPRIGHT[orientation](gradient()))


@pytest.mark.parametrize("orientation", list(UPRIGHT))
def test_the_exif_orientation_of_a_jpeg_is_applied(orientation):
    plain = decode(encode(Image.fromarray(gradient()), "JPEG"))
    data = with_orientation(Image.fromarray(gradient()), "JPEG", orientation)
    assert np.array_equal(decode(data), UPRIGHT[orientation](plain))


def test_an_orientation_that_exif_does_not_define_is_upright():
    plain = decode(encode(Image.fromarray(gradient()), "JPEG"))
    data = with_orientation(Image.fromarray(gradient()), "JPEG", 9)
    assert np.array_equal(decode(data), plain)


def test_stray_bytes_between_jpeg_segments_are_forgiven_as_pillow_forgives_them():
    data = encode(Image.fromarray(gradient()), "JPEG")
    table = data.find(b"\xff\xdb")
    stray = data[:table] + b"\x11\x22" + data[table:]
    assert np.array_equal(decode(stray), decode(data))


def test_bytes_after_the_end_of_a_jpeg_are_ignored():
    data = encode(Image.fromarray(gradient()), "JPEG")
    assert np.array_equal(decode(data + bytes(100)), decode(data))


def test_the_pixels_are_the_callers_to_write():
    pixels = decode(encode(Image.fromarray(gradient()), "PNG"))
    pixels[0, 0] = 1
    assert pixels.flags.c_contiguous

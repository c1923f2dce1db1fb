"""Files that are damaged, lie, or are made to cost: an InvalidImageError, and soon."""

import io
import random
import struct
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from kokeshi.errors import InvalidImageError
from kokeshi.images import Limits, decode

MEGABYTE = 2**20


def encode(image: Image.Image, file_format: str, **settings: object) -> bytes:
    out = io.BytesIO()
    image.save(out, file_format, **settings)
    return out.getvalue()


def noise(height: int = 48, width: int = 64) -> Image.Image:
    ramp = np.add.outer(np.arange(height), np.arange(width))[..., None] * np.array([1, 2, 3])
    grain = np.random.default_rng(0).integers(0, 40, (height, width, 3))
    return Image.fromarray((ramp % 200 + grain).astype(np.uint8))


EXIF = Image.Exif()
EXIF[0x0112] = 6
FILES = {
    "jpeg": encode(noise(), "JPEG", exif=EXIF),
    "progressive jpeg": encode(noise(), "JPEG", progressive=True),
    "cmyk jpeg": encode(noise().convert("CMYK"), "JPEG"),
    "png": encode(noise(), "PNG", exif=EXIF),
    "palette png": encode(noise().quantize(16), "PNG", transparency=b"\0\x80"),
    "animated png": encode(noise(), "PNG", save_all=True, append_images=[noise().rotate(90)]),
    "webp": encode(noise(), "WEBP", exif=EXIF),
    "lossless webp": encode(noise(), "WEBP", lossless=True),
    "animated webp": encode(noise(), "WEBP", save_all=True, append_images=[noise().rotate(90)]),
    "gif": encode(noise(), "GIF", comment=b"a comment"),
    "animated gif": encode(noise(), "GIF", save_all=True, append_images=[noise().rotate(90)]),
    "bmp": encode(noise(), "BMP"),
    "tiff": encode(noise(), "TIFF"),
    "lzw tiff": encode(noise(), "TIFF", compression="tiff_lzw"),
    "jpeg tiff": encode(noise(), "TIFF", compression="jpeg"),
}


def image_or_refusal(data: bytes) -> None:
    try:
        pixels = decode(data, Limits(max_pixels=MEGABYTE))
    except InvalidImageError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_is_an_image_or_a_refusal(name):
    data = FILES[name]
    cuts = {*range(min(200, len(data))), *range(0, len(data), max(1, len(data) // 150))}
    for cut in cuts:
        image_or_refusal(data[:cut])


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_flipped_bytes_is_an_image_or_a_refusal(name):
    chance = random.Random(name)
    data = FILES[name]
    for trial in range(300):
        spoilt = bytearray(data)
        # Every other trial spoils the header, where the traps are.
        reach = min(150, len(data)) if trial % 2 else len(data)
        for _ in range(chance.choice((1, 1, 2, 8))):
            spoilt[chance.randrange(reach)] = chance.choice((0, 0xFF, chance.randrange(256)))
        image_or_refusal(bytes(spoilt))


@pytest.mark.parametrize("name", [name for name in FILES if "animated" not in name])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_file_that_ends_early_is_refused_not_filled(name, share):
    data = FILES[name]
    with pytest.raises(InvalidImageError, match=r"damaged|incomplete"):
        decode(data[: int(len(data) * share)])


def test_a_jpeg_cut_short_but_closed_is_refused_not_filled_with_grey():
    data = FILES["jpeg"]
    with pytest.raises(InvalidImageError, match="it ends early"):
        decode(data[: len(data) * 2 // 3] + b"\xff\xd9")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (
            b"hello, this is text",
            r"expected JPEG, PNG, WebP, BMP, TIFF or GIF, got .*b'hello, this",
        ),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "expected JPEG"),
        (b"\xff\xd8\xff", "no frame header"),
        (b"\xff\xd8" + b"\xff" * 1000, "no frame header"),
        (b"BM", "BMP file is damaged"),
        (b"GIF89a", "GIF file is damaged"),
        (b"II*\0", "TIFF file is damaged"),
    ],
)
def test_what_is_no_image_is_named(data, message):
    with pytest.raises(InvalidImageError, match=message):
        decode(data)


@pytest.mark.parametrize("file_format", ["ICO", "PPM", "TGA", "PCX", "JPEG2000", "AVIF", "EPS"])
def test_other_formats_that_pillow_reads_are_refused(file_format):
    with pytest.raises(InvalidImageError, match="expected JPEG"):
        decode(encode(noise(), file_format))


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *extra: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + rows + chunk(b"IEND", b"")


def jpeg(width: int, height: int) -> bytes:
    data = bytearray(FILES["jpeg"])
    frame = data.find(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def webp(width: int, height: int) -> bytes:
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + canvas
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif(width: int, height: int) -> bytes:
    data = bytearray(FILES["gif"])
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def bmp(width: int, height: int) -> bytes:
    data = bytearray(FILES["bmp"])
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


def tiff(width: int, height: int) -> bytes:
    data = bytearray(FILES["lzw tiff"])
    (directory,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, directory)
    for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
        (tag,) = struct.unpack_from("<H", data, entry)
        if tag in (256, 257):
            struct.pack_into("<HII", data, entry + 2, 4, 1, width if tag == 256 else height)
    return bytes(data)


BOMBS = {
    "png": png(60_000, 60_000),
    "png, 100 Mpx": png(10_000, 10_000),
    "jpeg": jpeg(60_000, 60_000),
    "webp": webp(60_000, 60_000),
    "webp, 100 Mpx": webp(10_000, 10_000),
    "gif": gif(60_000, 60_000),
    "bmp": bmp(60_000, 60_000),
    "tiff": tiff(60_000, 60_000),
    "tiff, 2 Gpx a side": tiff(2**31, 2**31),
    "png, a strip": png(2**24, 1),
    "png with a compressed text of 64 MB": png(
        8, 8, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(64 * MEGABYTE)))
    ),
    "png with a compressed profile of 64 MB": png(
        8, 8, chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(64 * MEGABYTE)))
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_or_harmless_before_it_costs_memory(name):
    tracemalloc.start()
    try:
        image_or_refusal(BOMBS[name])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * MEGABYTE


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_no_bomb_costs_memory_outside_python_either(tmp_path):
    """tracemalloc does not see what the C decoders allocate; a process of its own does."""
    import subprocess

    for number, data in enumerate(BOMBS.values()):
        (tmp_path / f"{number}.bin").write_bytes(data)
    code = """
import re, sys, pathlib
from kokeshi.errors import InvalidImageError
from kokeshi.images import decode
from PIL import BmpImagePlugin, GifImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

def peak_kib():
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])

before = peak_kib()
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        decode(path.read_bytes())
    except InvalidImageError:
        pass
print(peak_kib() - before)
"""
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    assert int(run.stdout) < 32 * 1024


def test_the_message_names_size_and_limit():
    with pytest.raises(InvalidImageError, match=r"10000 x 10000 pixels; at most 67108864"):
        decode(BOMBS["png, 100 Mpx"])
    with pytest.raises(InvalidImageError, match=r"60000 x 60000 pixels; at most 67108864"):
        decode(BOMBS["jpeg"])
    with pytest.raises(InvalidImageError, match=r"a side of at most 65535"):
        decode(BOMBS["png, a strip"])


def test_a_file_longer_than_the_limit_is_refused_unread():
    with pytest.raises(InvalidImageError, match=r"has 11 bytes; at most 10"):
        decode(bytes(11), Limits(max_bytes=10))


def test_a_jpeg_of_very_many_scans_is_refused():
    data = encode(noise(), "JPEG", progressive=True)
    last_scan = data[data.rfind(b"\xff\xda") : -2]
    with pytest.raises(InvalidImageError, match="more than 32 scans"):
        decode(data[:-2] + last_scan * 40 + b"\xff\xd9")


def test_a_run_length_bmp_is_refused_with_advice():
    header = struct.pack("<IiiHHIIiiII", 40, 4, 1, 1, 8, 1, 4, 0, 0, 256, 0)
    file_header = b"BM" + struct.pack("<IHHI", 14 + 40 + 1024 + 4, 0, 0, 14 + 40 + 1024)
    with pytest.raises(InvalidImageError, match="run-length encoded BMP is not accepted"):
        decode(file_header + header + bytes(1024) + b"\x04\x01\x00\x01")


def test_tags_that_all_point_at_the_same_bytes_cost_no_memory():
    payload = bytes(MEGABYTE)
    tags = range(60_000, 62_000)
    entries = b"".join(struct.pack("<HHII", tag, 7, len(payload), 8) for tag in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    data = b"II*\0" + struct.pack("<I", 8 + len(payload)) + payload + directory
    tracemalloc.start()
    try:
        with pytest.raises(InvalidImageError):
            decode(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * MEGABYTE


def test_a_damaged_exif_block_leaves_the_picture_upright():
    data = bytearray(FILES["jpeg"])
    exif = data.find(b"Exif\0\0") + 6
    data[exif + 4 : exif + 8] = b"\xff\xff\xff\x7f"
    assert decode(bytes(data)).shape == (48, 64, 3)

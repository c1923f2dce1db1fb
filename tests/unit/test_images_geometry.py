"""Preparing a picture, and bringing maps back onto it."""

import io

import numpy as np
import pytest
from PIL import Image

from kokeshi.contract import ImageInput, Interpolation, Resize
from kokeshi.errors import InvalidImageError
from kokeshi.images import Limits, preprocess, restore_map

NEAREST, BILINEAR = Interpolation.NEAREST, Interpolation.BILINEAR


def black(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def test_pad_keeps_the_aspect_and_fills_right_and_below_with_black():
    prepared = preprocess(
        np.full((50, 100, 3), 200, np.uint8), ImageInput(height=64, width=64, resize=Resize.PAD)
    )
    assert prepared.pixels.shape == (64, 64, 3)
    assert (prepared.pixels[:32] == 200).all()
    assert (prepared.pixels[32:] == 0).all()
    geometry = prepared.geometry
    assert (geometry.original_height, geometry.original_width) == (50, 100)


def test_pad_enlarges_a_small_picture_and_never_loses_a_thin_one():
    contract = ImageInput(height=64, width=64, resize=Resize.PAD)
    assert (preprocess(np.full((8, 8, 3), 7, np.uint8), contract).pixels == 7).all()
    thin = preprocess(np.full((1, 4000, 3), 7, np.uint8), contract).pixels
    assert (thin[0] == 7).all()
    assert (thin[1:] == 0).all()


def test_the_orientation_decides_which_side_is_the_height():
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    Image.new("RGB", (400, 200)).save(out, "JPEG", exif=exif)
    contract = ImageInput(height=32, width=32, resize=Resize.PAD)
    geometry = preprocess(out.getvalue(), contract).geometry
    assert (geometry.original_height, geometry.original_width) == (400, 200)
    assert (geometry.resized_height, geometry.resized_width) == (32, 16)


def test_prepared_pixels_are_contiguous_and_writable():
    pixels = preprocess(black(40, 50), ImageInput(height=32, width=32)).pixels
    pixels[0, 0] = 1
    assert pixels.flags.c_contiguous
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))]
)
def test_pixels_of_another_shape_or_type_are_refused(pixels):
    with pytest.raises(InvalidImageError, match=r"expected pixels of shape \(height, width, 3\)"):
        preprocess(pixels, ImageInput(height=32, width=32))


def test_pixels_obey_the_limits_too():
    with pytest.raises(InvalidImageError, match="at most 10 are accepted"):
        preprocess(black(4, 4), ImageInput(height=32, width=32), limits=Limits(max_pixels=10))
    with pytest.raises(InvalidImageError, match="has no pixels"):
        preprocess(black(0, 4), ImageInput(height=32, width=32))


def test_what_lies_outside_the_crop_is_filled_with_the_callers_value():
    geometry = preprocess(black(100, 200), ImageInput(height=100, width=100)).geometry
    restored = restore_map(np.ones((100, 100), np.uint8), geometry, NEAREST, fill=255)
    assert restored.shape == (100, 200)
    assert (restored[:, 50:150] == 1).all()
    assert (restored[:, :50] == 255).all()
    assert (restored[:, 150:] == 255).all()


@pytest.mark.parametrize("resize", list(Resize))
@pytest.mark.parametrize("original", [(90, 150), (150, 90), (64, 64), (20, 30)])
def test_a_mark_on_the_picture_comes_back_where_it_was(resize, original):
    height, width = original
    pixels = black(height, width)
    rows, columns = slice(height // 2 - 5, height // 2 + 5), slice(width // 2 - 6, width // 2 + 6)
    pixels[rows, columns] = 255
    contract = ImageInput(height=128, width=128, resize=resize, resize_size=140)
    prepared = preprocess(pixels, contract)
    values = prepared.pixels[..., 0]
    restored = restore_map(values.astype(np.float32) / 255, prepared.geometry, BILINEAR)
    assert np.abs(restored - pixels[..., 0] / 255).mean() < 0.03
    labels = restore_map((values > 127).astype(np.uint8), prepared.geometry, NEAREST)
    assert (labels != pixels[..., 0] // 255).mean() < 0.02


def test_a_map_coarser_than_the_input_covers_the_whole_input():
    geometry = preprocess(
        black(64, 64), ImageInput(height=64, width=64, resize=Resize.SQUASH)
    ).geometry
    coarse = np.arange(16, dtype=np.uint8).reshape(4, 4)
    expected = coarse.repeat(16, axis=0).repeat(16, axis=1)
    assert np.array_equal(restore_map(coarse, geometry, NEAREST), expected)


def test_nothing_of_the_padding_comes_back():
    contract = ImageInput(height=64, width=64, resize=Resize.PAD)
    geometry = preprocess(black(37, 100), contract).geometry
    values = np.full((64, 64), 9, np.float32)
    values[: geometry.resized_height] = 1
    assert (restore_map(values, geometry, BILINEAR) == 1).all()
    assert (restore_map(values.astype(np.uint8), geometry, NEAREST) == 1).all()


def test_a_crop_larger_than_the_picture_gives_back_all_of_it():
    geometry = preprocess(black(40, 40), ImageInput(height=60, width=60, resize_size=40)).geometry
    values = np.zeros((60, 60), np.uint8)
    values[10:50, 10:50] = np.arange(1600, dtype=np.uint8).reshape(40, 40)
    restored = restore_map(values, geometry, NEAREST, fill=255)
    assert np.array_equal(restored, values[10:50, 10:50])


def test_a_crop_between_two_pixel_centres_knows_nothing():
    geometry = preprocess(black(2, 2), ImageInput(height=10, width=10, resize_size=100)).geometry
    assert (restore_map(np.ones((10, 10), np.uint8), geometry, NEAREST, fill=7) == 7).all()

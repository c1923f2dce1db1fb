"""Maps as PNG files."""

import io

import numpy as np
import pytest
from PIL import Image

from kokeshi.errors import InferenceError
from kokeshi.images import encode_png_grey, encode_png_label_map


def test_pixel_values_of_a_label_map_are_the_class_ids():
    labels = np.arange(256, dtype=np.uint8).repeat(4).reshape(32, 32)
    image = Image.open(io.BytesIO(encode_png_label_map(labels)))
    assert image.mode == "P"
    assert np.array_equal(np.asarray(image), labels)


def test_the_default_colours_are_those_of_pascal_voc():
    labels = np.array([[0, 1, 2, 15, 20]], np.uint8)
    image = Image.open(io.BytesIO(encode_png_label_map(labels))).convert("RGB")
    expected = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [0, 64, 128]]
    assert np.asarray(image)[0].tolist() == expected


def test_a_short_palette_colours_its_classes_and_loses_no_id():
    palette = np.array([[1, 2, 3], [250, 251, 252]], np.uint8)
    labels = np.array([[0, 1, 200]], np.uint8)
    image = Image.open(io.BytesIO(encode_png_label_map(labels, palette)))
    assert np.asarray(image)[0].tolist() == [0, 1, 200]
    assert np.asarray(image.convert("RGB"))[0].tolist() == [[1, 2, 3], [250, 251, 252], [0, 0, 0]]


def test_probabilities_become_grey_and_are_clipped():
    values = np.array([[0, 0.5, 1, -0.2, 1.7, 1 / 255]], np.float32)
    image = Image.open(io.BytesIO(encode_png_grey(values)))
    assert image.mode == "L"
    assert np.asarray(image)[0].tolist() == [0, 128, 255, 0, 255, 1]


def test_half_precision_is_taken_too():
    image = Image.open(io.BytesIO(encode_png_grey(np.ones((2, 2), np.float16))))
    assert (np.asarray(image) == 255).all()


def test_a_map_of_what_is_no_number_is_the_models_failure():
    with pytest.raises(InferenceError, match="not numbers"):
        encode_png_grey(np.array([[0, np.nan]], np.float32))


def test_slices_and_transposed_maps_are_taken():
    labels = np.arange(64, dtype=np.uint8).reshape(8, 8).T[::2]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_png_label_map(labels)))), labels)

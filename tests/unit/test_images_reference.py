"""Preprocessing against the reference pipelines of torchvision, on photographs."""

import io
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageOps

from kokeshi.contract import ImageInput, Interpolation, Resize
from kokeshi.images import preprocess, restore_map
from kokeshi.images.preprocessing import MARGIN

pytestmark = pytest.mark.export

SMOOTH = [Interpolation.BILINEAR, Interpolation.BICUBIC, Interpolation.LANCZOS]
MOST_MEAN = 0.7  # levels of 255, of a JPEG decoded at a reduced size
MOST_P99 = 4


@cache
def photographs() -> dict[str, Image.Image]:
    from skimage import data
    from sklearn.datasets import load_sample_images

    named = ["astronaut", "coffee", "chelsea", "rocket", "retina", "hubble_deep_field"]
    pictures = {name: Image.fromarray(getattr(data, name)()) for name in named}
    for number, sample in enumerate(load_sample_images().images):
        pictures[f"sample {number}"] = Image.fromarray(sample)
    return pictures


def jpeg(image: Image.Image, **settings: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90, **settings)
    return out.getvalue()


def reference(data: bytes, contract: ImageInput) -> np.ndarray:
    from torchvision import transforms
    from torchvision.transforms import InterpolationMode

    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    mode = InterpolationMode(contract.interpolation.value)
    size = contract.height, contract.width
    if contract.resize is Resize.SQUASH:
        return np.asarray(transforms.Resize(size, mode)(image))
    shorter = contract.resize_size or min(size)
    steps = [transforms.Resize(shorter, mode), transforms.CenterCrop(size)]
    return np.asarray(transforms.Compose(steps)(image))


def short(contract: ImageInput) -> str:
    return f"{contract.resize.value} {contract.height}x{contract.width} {contract.resize_size}"


CONTRACTS = [
    ImageInput(height=224, width=224, resize_size=256),
    ImageInput(height=224, width=224),
    ImageInput(height=97, width=131, resize_size=113),
    ImageInput(height=160, width=96),  # the crop is higher than the resized picture: padding
    ImageInput(height=225, width=225, resize_size=192),  # ... by an odd number of pixels
    ImageInput(height=120, width=200, resize=Resize.SQUASH),
    ImageInput(height=64, width=64, resize_size=72),
]


@pytest.mark.parametrize("interpolation", list(Interpolation))
@pytest.mark.parametrize("contract", CONTRACTS, ids=short)
def test_a_picture_decoded_at_full_size_is_the_references_exactly(contract, interpolation):
    contract = contract.model_copy(update={"interpolation": interpolation})
    for name in ("astronaut", "coffee", "chelsea"):
        data = jpeg(photographs()[name])
        prepared = preprocess(data, contract, reduced=False)
        assert np.array_equal(prepared.pixels, reference(data, contract)), name


def test_odd_sizes_round_as_the_reference_rounds():
    contract = ImageInput(height=31, width=33, resize_size=36)
    noise = np.random.default_rng(0)
    for height, width in [(37, 53), (101, 37), (36, 36), (35, 200), (1, 5), (5, 1), (64, 63)]:
        pixels = noise.integers(0, 256, (height, width, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        expected = reference(out.getvalue(), contract)
        assert np.array_equal(preprocess(pixels, contract).pixels, expected), (height, width)
        assert np.array_equal(preprocess(out.getvalue(), contract).pixels, expected)


def test_a_very_long_strip_is_within_two_levels_and_needs_no_gigabytes():
    contract = ImageInput(height=32, width=32, resize_size=36)
    strip = np.random.default_rng(0).integers(0, 256, (40, 3000, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(strip).save(out, "PNG")
    got = preprocess(strip, contract).pixels.astype(int)
    assert np.abs(got - reference(out.getvalue(), contract)).max() <= 2
    # The reference would resize this one to 224 x 14,680,000 pixels.
    assert preprocess(np.full((1, 65_535, 3), 9, np.uint8), CONTRACTS[0]).pixels.max() == 9


@pytest.mark.parametrize("interpolation", SMOOTH)
@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize(
    "contract", [CONTRACTS[6], ImageInput(height=40, width=56, resize=Resize.SQUASH)], ids=short
)
def test_a_reduced_decode_agrees_with_the_reference(contract, orientation, interpolation):
    contract = contract.model_copy(update={"interpolation": interpolation})
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name, photograph in photographs().items():
        data = jpeg(photograph, exif=exif, progressive=orientation == 3)
        got = preprocess(data, contract).pixels.astype(int)
        apart = np.abs(got - reference(data, contract))
        assert apart.mean() < MOST_MEAN, name
        assert np.percentile(apart, 99) <= MOST_P99, name


@pytest.mark.parametrize("divisor", [2, 4, 8])
def test_every_reduction_agrees_at_the_least_margin_it_is_used_for(divisor):
    photograph = photographs()["retina"]  # 1411 x 1411: no multiple of a divisor
    size = int(1411 / (MARGIN * divisor))
    contract = ImageInput(height=size, width=size)
    data = jpeg(photograph)
    apart = np.abs(preprocess(data, contract).pixels.astype(int) - reference(data, contract))
    assert 0 < apart.mean() < MOST_MEAN
    assert np.percentile(apart, 99) <= MOST_P99


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_chroma_subsampling_does_not_move_the_colours(subsampling):
    data = jpeg(photographs()["coffee"], subsampling=subsampling)
    contract = CONTRACTS[6]
    apart = np.abs(preprocess(data, contract).pixels.astype(int) - reference(data, contract))
    assert apart.mean() < MOST_MEAN
    assert np.percentile(apart, 99) <= MOST_P99


def test_the_nearest_filter_never_reduces():
    data = jpeg(photographs()["retina"])
    contract = CONTRACTS[6].model_copy(update={"interpolation": Interpolation.NEAREST})
    assert np.array_equal(preprocess(data, contract).pixels, reference(data, contract))


@pytest.mark.parametrize("original", [(90, 70), (13, 17)])
def test_a_restored_float_map_is_torchs_interpolation(original):
    import torch
    from torch.nn.functional import interpolate

    contract = ImageInput(height=24, width=32, resize=Resize.SQUASH)
    geometry = preprocess(np.zeros((*original, 3), np.uint8), contract).geometry
    values = np.random.default_rng(0).random((24, 32), np.float32)
    expected = interpolate(torch.tensor(values)[None, None], original, mode="bilinear")
    restored = restore_map(values, geometry, Interpolation.BILINEAR)
    np.testing.assert_allclose(restored, expected[0, 0].numpy(), atol=1e-5)
    labels = (values * 20).astype(np.uint8)
    nearest = interpolate(torch.tensor(labels)[None, None], original, mode="nearest-exact")
    restored = restore_map(labels, geometry, Interpolation.NEAREST)
    assert np.array_equal(restored, nearest[0, 0].numpy())


def test_a_padded_map_is_cropped_before_it_is_interpolated():
    import torch
    from torch.nn.functional import interpolate

    contract = ImageInput(height=64, width=64, resize=Resize.PAD)
    geometry = preprocess(np.zeros((50, 100, 3), np.uint8), contract).geometry
    values = np.random.default_rng(0).random((64, 64), np.float32)
    shown = torch.tensor(values[:32])[None, None]
    expected = interpolate(shown, (50, 100), mode="bilinear")[0, 0].numpy()
    restored = restore_map(values, geometry, Interpolation.BILINEAR, fill=-1)
    np.testing.assert_allclose(restored, expected, atol=1e-5)

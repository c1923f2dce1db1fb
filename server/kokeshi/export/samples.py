"""What a graph is compared on: photographs and sentences, and seeded noise."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kokeshi.contract import ImageInput, Input, TextInput

BATCH_SIZES: Final = (1, 2, 5)
SEED: Final = 0
_PHOTOGRAPHS: Final = (
    "astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field", "immunohistochemistry",
)  # fmt: skip
_SCENES: Final = ("china.jpg", "flower.jpg")
_SENTENCES: Final = (
    "a photo of a cat",
    "two red apples on a wooden table",
    "An astronaut in an orange suit smiles in front of a flag.",
    "rocket",
    "A cup of coffee, seen from above; the spoon lies on the saucer!",
    "satellite image of a harbour at 52.37 N, 4.89 E",
    "a sketch of a doll within a doll within a doll",
    "the quick brown fox jumps over the lazy dog and then keeps on running through the wood until "
    "night falls and the owls begin to call from one side of the valley to the other",
)


@dataclass(frozen=True)
class Batch:
    """Rows for one run, each with a name for messages."""

    names: tuple[str, ...]
    rows: NDArray[Any]  # (N, height, width, 3) uint8, or (N, context_length) int64
    real: bool


def batches(contract: Input, files: Mapping[str, bytes]) -> list[Batch]:
    """Real rows and noise, each at every batch size.

    Args:
        contract: the part's input.
        files: the part's; a tokeniser among them makes sentences into tokens.
    """
    count = sum(BATCH_SIZES)
    noise_names = tuple(f"noise {index}" for index in range(count))
    made = _cut(noise_names, noise(contract, files, count), real=False)
    if isinstance(contract, ImageInput):
        names, rows = photographs(contract)
        return _cut(names, rows, real=True) + made
    if contract.tokenizer in files:
        texts = sentences(contract, files[contract.tokenizer])
        return _cut(_SENTENCES, texts, real=True) + made
    return made


def noise(contract: Input, files: Mapping[str, bytes], count: int) -> NDArray[Any]:
    """Seeded rows: uint8 pixels, or texts of random length, ended and padded by the contract."""
    random = np.random.default_rng(SEED)
    if isinstance(contract, ImageInput):
        shape = (count, contract.height, contract.width, 3)
        return random.integers(0, 256, shape, dtype=np.uint8)
    words = _vocabulary(contract, files)
    length = contract.context_length
    rows = np.full((count, length), contract.pad_id, dtype=np.int64)
    for row, end in zip(rows, random.integers(0, length, count), strict=True):
        row[:end] = random.integers(0, words, end)
        row[end] = contract.end_id
    return rows


def photographs(contract: ImageInput) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    """Eight photographs that scikit-image and scikit-learn carry, squashed to the contract's size.

    Returns:
        Their names, and (8, height, width, 3) uint8 RGB.
    """
    import skimage.data
    from PIL import Image
    from sklearn.datasets import load_sample_image

    pictures = [getattr(skimage.data, name)() for name in _PHOTOGRAPHS]
    pictures += [load_sample_image(name) for name in _SCENES]
    size = (contract.width, contract.height)
    resized = [np.asarray(Image.fromarray(picture).resize(size)) for picture in pictures]
    return (*_PHOTOGRAPHS, *_SCENES), np.stack(resized)


def sentences(contract: TextInput, tokenizer: bytes) -> NDArray[np.int64]:
    """Eight sentences as token ids, (8, context_length) int64."""
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_buffer(tokenizer)
    encoder.no_padding()
    encoder.no_truncation()
    length = contract.context_length
    rows = np.full((len(_SENTENCES), length), contract.pad_id, dtype=np.int64)
    for row, sentence in zip(rows, _SENTENCES, strict=True):
        ids = encoder.encode(sentence).ids
        if len(ids) > length:
            ids = [*ids[: length - 1], contract.end_id]
        row[: len(ids)] = ids
    return rows


def _vocabulary(contract: TextInput, files: Mapping[str, bytes]) -> int:
    """How many token ids are safe to draw from."""
    from tokenizers import Tokenizer

    if contract.tokenizer in files:
        encoder = Tokenizer.from_buffer(files[contract.tokenizer])
        return int(encoder.get_vocab_size())
    return max(contract.end_id, contract.pad_id) + 1


def _cut(names: tuple[str, ...], rows: NDArray[Any], *, real: bool) -> list[Batch]:
    ends = np.cumsum(BATCH_SIZES)
    return [
        Batch(names[end - size : end], rows[end - size : end], real)
        for size, end in zip(BATCH_SIZES, ends, strict=True)
    ]

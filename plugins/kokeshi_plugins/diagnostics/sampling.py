"""Which items of a sample a diagnostic reads, and the vectors as it reads them.

A diagnostic that looks at pairs costs the square of the items. Above its limit it draws some of
them by the sample's seed, without replacement, and its findings say so.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import Sample

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

UNIT_TOLERANCE: Final = 1e-3  # of a squared norm: what float32 and a float16 wire leave of 1


def generator(sample: Sample) -> np.random.Generator:
    """What every draw of one diagnostic comes from: the same sample gives the same figures."""
    return np.random.default_rng(sample.seed)


def draw_rows(count: int, most: int, random: np.random.Generator) -> Rows:
    """At most `most` of `count` rows, uniformly and without replacement, ascending."""
    if count <= most:
        return np.arange(count)
    return np.sort(random.choice(count, size=most, replace=False))


def check_items(sample: Sample, least: int) -> None:
    """Refuses a sample that carries no figure.

    Raises:
        InvalidRequestError: fewer than `least` items, or a value that is not finite.
    """
    count = len(sample.vectors)
    if count < least:
        raise InvalidRequestError(f"expected at least {least} items, got {count}")
    check_finite(sample.vectors, "items")


def check_finite(vectors: Floats, what: str) -> None:
    """Refuses vectors with a value that is not finite.

    Raises:
        InvalidRequestError: there is one.
    """
    # the least and the largest show every value that is not finite, without a copy of the rest
    if len(vectors) and not np.isfinite([vectors.min(), vectors.max()]).all():
        raise InvalidRequestError(f"expected finite vectors, the {what} hold others")


def is_unit(vectors: Floats) -> bool:
    """Whether all rows have unit norm: then Euclid's neighbours are the cosine's."""
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    return bool(np.abs(squares - 1).max(initial=0.0) <= UNIT_TOLERANCE)


def unit(vectors: Floats) -> Floats:
    """Rows scaled to unit norm, float32; a row of zeros stays one."""
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))[:, None]
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)


def cut(vectors: Floats, length: int) -> Floats:
    """The first `length` dimensions, as a collection compares them.

    A prefix of unit vectors is made unit again; other vectors are compared as they are.
    """
    prefix = vectors[:, :length]
    return unit(prefix) if is_unit(vectors) else np.ascontiguousarray(prefix)


def drawn_advice(used: int, total: int, seed: int, what: str = "items") -> tuple[str, ...]:
    """The sentence that a drawn sample owes its reader; nothing where all were read."""
    if used >= total:
        return ()
    return (f"{used:,} of {total:,} {what} were drawn at random (seed {seed}).",)


def labelled_advice(sample: Sample, most: int) -> tuple[str, ...]:
    """Likewise where only items with a label are read, at most `most` of them."""
    labelled = sum(label != "" for label in sample.labels)
    return drawn_advice(min(labelled, most), labelled, sample.seed, "items with a label")


def name_of(sample: Sample, row: int) -> str:
    """Id of an item, or its row where the sample has no ids."""
    return sample.ids[row] if sample.ids else f"row {row}"

"""The vectors that the diagnostics' reference figures were taken of: scikit-learn's scanned digits.

A little noise parts equal distances, so that no figure hangs on the order of ties.
"""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

SEED = 222
FLIPPED = 108  # labels made wrong: 6 in 100
COMPARED = 300  # items of the comparison of two spaces
NEIGHBOURS = 10


@dataclass(frozen=True)
class Digits:
    """`vectors` (1797, 64) float32, `labels` and `wrong_labels` (1797,), `others` (1797, 24)."""

    vectors: NDArray[np.float32]
    labels: NDArray[np.int64]
    wrong_labels: NDArray[np.int64]
    flipped: NDArray[np.int64]
    others: NDArray[np.float32]

    @property
    def sha256(self) -> str:
        """Of all of it: figures of other bytes are no reference."""
        parts = (self.vectors, self.labels, self.wrong_labels, self.others)
        return sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


def _integers(seed: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """0 to 2^20 - 1, from PCG64's raw stream, which numpy guarantees."""
    bits = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    return (bits >> np.uint64(44)).astype(np.int64).reshape(shape)


def _even(seed: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Numbers in [-1, 1), exact in float32."""
    return _integers(seed, shape) / 2.0**19 - 1


def digits() -> Digits:
    """Ink of 0 to 16 with noise of a sixteenth; the others are what 24 random masks see of it."""
    from sklearn.datasets import load_digits

    ink, labels = load_digits(return_X_y=True)
    labels = labels.astype(np.int64)
    vectors = (ink + _even(SEED, ink.shape) / 16).astype(np.float32)
    flipped = np.argsort(_integers(SEED + 1, labels.shape), kind="stable")[:FLIPPED]
    wrong = labels.copy()
    wrong[flipped] = (labels[flipped] + 1 + _integers(SEED + 2, (FLIPPED,)) % 9) % 10
    masks = _integers(SEED + 3, (64, 24)) % 2
    # whole numbers of sixteenths: exact, whatever order a library sums in
    others = np.rint(ink * 16) @ masks / 16
    noise = _even(SEED + 4, others.shape) / 16
    return Digits(vectors, labels, wrong, np.sort(flipped), (others + noise).astype(np.float32))

"""Recall of one embedding's queries among another's items."""

import numpy as np
import numpy.typing as npt

from kokeshi.plugin import go_on
from kokeshi_plugins.retrievers.fitted import unit

Floats = npt.NDArray[np.float64]


def recall_of(mapped: Floats, old: Floats, k: int, length: int) -> Floats:
    """Share (n,) of what old queries find among all other items that the mapped queries find too.

    Args:
        mapped: (n, dim), the same items as `old`, from elsewhere.
        old: (n, dim), queries and gallery of the truth.
        k: nearest items; below n.
        length: prefix that is compared, normalised again.
    """
    gallery = unit(old[:, :length])
    found = _nearest(unit(mapped[:, :length]), gallery, k)
    wanted = _nearest(gallery, gallery, k)
    hits: Floats = (found[:, :, None] == wanted[:, None, :]).any(axis=2).mean(axis=1)
    return hits


def _nearest(queries: Floats, gallery: Floats, k: int) -> npt.NDArray[np.int64]:
    go_on()
    similarities = queries @ gallery.T
    np.fill_diagonal(similarities, -np.inf)  # an item does not find itself
    return np.argpartition(-similarities, k, axis=1)[:, :k]

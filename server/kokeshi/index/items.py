"""What is kept in a collection: items, what their writing is acknowledged by, pages of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]

NO_TENANT: Final = ""
MAX_TENANTS: Final = 1_000_000  # that a store names where the caller does not say


@dataclass(frozen=True, eq=False)
class Item:
    """One embedding: `vector` is (dim,) float32, `metadata` a JSON object.

    `vector` is None only in an answer that was asked for without vectors. `seq` is the write that
    stored it; the store gives it. `origin` is the fingerprint of the space of another model from
    which the vector was mapped; "" where it is of the collection's own.
    """

    id: str
    vector: Vector | None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0
    origin: str = ""


@dataclass(frozen=True)
class Receipt:
    """Acknowledgement of a write: searches whose `seq` is at least this one see it.

    Attributes:
        count: rows written, or rows that a delete found.
        is_fsynced: the write is on the disk, not only with the operating system.
    """

    seq: int
    count: int
    is_fsynced: bool


@dataclass(frozen=True, eq=False)
class Page:
    """One page of a scroll; `cursor` asks for the next one and is None after the last."""

    items: tuple[Item, ...]
    cursor: str | None

"""Collections of embeddings: a database that is the truth, and indexes derived from it."""

from kokeshi.index.embedded import EmbeddedStore
from kokeshi.index.store import (
    CollectionInfo,
    CollectionSpec,
    Found,
    Hit,
    Item,
    Page,
    Receipt,
    SearchParams,
    Store,
    StoreStats,
)
from kokeshi.index.tuning import Tuning

__all__ = [
    "CollectionInfo",
    "CollectionSpec",
    "EmbeddedStore",
    "Found",
    "Hit",
    "Item",
    "Page",
    "Receipt",
    "SearchParams",
    "Store",
    "StoreStats",
    "Tuning",
]

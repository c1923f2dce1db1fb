"""Collections of embeddings: a database that is the truth, and indexes derived from it."""

from kokeshi.index.embedded import EmbeddedStore
from kokeshi.index.store import (
    NO_TENANT,
    Capabilities,
    CollectionInfo,
    CollectionSpec,
    Found,
    Hit,
    Item,
    Page,
    Receipt,
    Route,
    SearchParams,
    Store,
    StoreStats,
)
from kokeshi.index.tuning import Tuning

__all__ = [
    "NO_TENANT",
    "Capabilities",
    "CollectionInfo",
    "CollectionSpec",
    "EmbeddedStore",
    "Found",
    "Hit",
    "Item",
    "Page",
    "Receipt",
    "Route",
    "SearchParams",
    "Store",
    "StoreStats",
    "Tuning",
]

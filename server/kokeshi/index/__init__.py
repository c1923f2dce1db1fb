"""Collections of embeddings: a database that is the truth, and indexes derived from it."""

from kokeshi.index.asked import SearchParams, Shortlist
from kokeshi.index.capabilities import Capabilities
from kokeshi.index.embedded import EmbeddedStore
from kokeshi.index.found import Found, Hit, RecallEstimate, Route
from kokeshi.index.info import CollectionInfo, StoreStats
from kokeshi.index.items import NO_TENANT, Item, Page, Receipt
from kokeshi.index.spec import CollectionSpec
from kokeshi.index.store import Store
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
    "RecallEstimate",
    "Receipt",
    "Route",
    "SearchParams",
    "Shortlist",
    "Store",
    "StoreStats",
    "Tuning",
]

"""Whether two stores hold the same items of a collection, row by row."""

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import orjson

from kokeshi.errors import ItemNotFoundError
from kokeshi.index.items import Item, Page
from kokeshi.index.store import Store

DIGEST_BYTES: Final = 16


@dataclass(frozen=True)
class Side:
    """A tenant's items of a collection in a store."""

    store: Store
    name: str
    tenant: str

    def count(self) -> int:
        """Items that are there."""
        return self.store.count(self.name, tenant=self.tenant)

    def page(self, cursor: str | None, limit: int, *, with_vectors: bool) -> Page:
        """See `Store.scroll`."""
        return self.store.scroll(
            self.name, cursor=cursor, limit=limit, with_vectors=with_vectors, tenant=self.tenant
        )

    def pages(self, limit: int, *, with_vectors: bool) -> Iterator[tuple[Item, ...]]:
        """All items, oldest first."""
        cursor = None
        while True:
            page = self.page(cursor, limit, with_vectors=with_vectors)
            yield page.items
            cursor = page.cursor
            if cursor is None:
                return

    def present(self, ids: Sequence[str], *, with_vectors: bool) -> dict[str, Item]:
        """Those of the items that are there."""
        if not ids:
            return {}
        try:
            items = self.store.get(self.name, ids, with_vectors=with_vectors, tenant=self.tenant)
        except ItemNotFoundError:
            half = len(ids) // 2
            if not half:
                return {}
            return {
                **self.present(ids[:half], with_vectors=with_vectors),
                **self.present(ids[half:], with_vectors=with_vectors),
            }
        return {item.id: item for item in items}


@dataclass(frozen=True)
class Difference:
    """An item that is not the same in two stores.

    Attributes:
        tenant: whose it is.
        id: of the item.
        what: "missing" in the second store, "different" there, or "extra" there.
        seq: of the write that stored it in the first one; 0: it is not there.
    """

    tenant: str
    id: str
    what: Literal["missing", "different", "extra"]
    seq: int

    def __str__(self) -> str:
        whose = f" of tenant {self.tenant!r}" if self.tenant else ""
        return f"{self.id!r}{whose} is {self.what}"


def digest_of(item: Item, tenant: str) -> bytes:
    """Fingerprint of all that a user gave with an item: 128 bits.

    Of vectors the bytes count, of metadata the values: the order of keys is nobody's.
    """
    if item.vector is None:
        raise ValueError("an item without its vector has no fingerprint")
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    metadata = orjson.dumps(dict(item.metadata), option=orjson.OPT_SORT_KEYS)
    texts = (tenant.encode(), item.id.encode(), item.origin.encode())
    for part in (*texts, metadata, item.vector.tobytes()):
        state.update(struct.pack("<q", len(part)))
        state.update(part)
    return state.digest()


@dataclass(frozen=True)
class Compared:
    """A page that was compared.

    Attributes:
        rows: of the first side; 0: it was a page of the second.
        found: what differs.
    """

    rows: int
    found: list[Difference]


def differences(first: Side, second: Side, page_rows: int) -> Iterator[Compared]:
    """Compares all rows of two sides, page by page.

    Every row of the first is looked up in the second; where the second has more than were found
    there, its rows are looked up in the first.
    """
    seen = 0
    for items in first.pages(page_rows, with_vectors=True):
        found = compare(items, second)
        seen += len(items) - sum(one.what == "missing" for one in found)
        yield Compared(len(items), found)
    if second.count() == seen:
        return
    for items in second.pages(page_rows, with_vectors=False):
        there = first.present([item.id for item in items], with_vectors=False)
        extra = [item.id for item in items if item.id not in there]
        yield Compared(0, [Difference(first.tenant, item_id, "extra", 0) for item_id in extra])


def compare(items: Sequence[Item], second: Side) -> list[Difference]:
    """What of some items, with their vectors, is not the same on the other side."""
    there = second.present([item.id for item in items], with_vectors=True)
    tenant, found = second.tenant, []
    for item in items:
        if item.id not in there:
            found.append(Difference(tenant, item.id, "missing", item.seq))
        elif digest_of(item, tenant) != digest_of(there[item.id], tenant):
            found.append(Difference(tenant, item.id, "different", item.seq))
    return found

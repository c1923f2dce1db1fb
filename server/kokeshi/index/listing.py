"""Lists items by id or filter: the snapshot says which rows, the database what they hold."""

from collections.abc import Sequence

import numpy as np

from kokeshi.errors import InvalidRequestError, ItemNotFoundError
from kokeshi.index.collection import Collection
from kokeshi.index.filters import Filter
from kokeshi.index.geometry import Rows
from kokeshi.index.items import Item, Page
from kokeshi.index.reads import row_span
from kokeshi.index.rows import RowHead, StoredRow
from kokeshi.index.snapshot import Snapshot
from kokeshi.index.truth import Truth

_Row = RowHead | StoredRow


def rows_of(snapshot: Snapshot, wanted: Filter | None, tenant: str) -> Rows:
    """Numbers of a tenant's rows that fit a filter, ascending."""
    masks = snapshot.allowed(tenant, wanted)
    chosen = [
        segment.block.rows if mask is None else segment.block.rows[mask]
        for segment, mask in zip(snapshot.segments, masks, strict=True)
    ]
    return np.concatenate(chosen)


def by_ids(
    truth: Truth, collection: Collection, ids: Sequence[str], *, tenant: str, with_vectors: bool
) -> list[Item]:
    """A tenant's items in the order of `ids`.

    Raises:
        ItemNotFoundError: an id is unknown.
    """
    with collection.guarded():
        read = truth.by_ids if with_vectors else truth.heads_by_ids
        found = read(collection.number, ids, tenant=tenant)
    for item_id in ids:
        if item_id not in found:
            raise ItemNotFoundError(f"no item {item_id!r} in collection {collection.spec.name!r}")
    return [_item(found[item_id]) for item_id in ids]


def page(
    truth: Truth,
    collection: Collection,
    after: tuple[int, int],
    limit: int,
    *,
    wanted: Filter | None,
    tenant: str,
    with_vectors: bool,
) -> Page:
    """A tenant's items that fit a filter, in the order in which they were written.

    Args:
        truth: the database.
        collection: which items.
        after: write and number of the row that the last page ended with.
        limit: items, most.
        wanted: the filter; None: all items.
        tenant: whose items.
        with_vectors: reads vectors too.

    Raises:
        InvalidRequestError: no page of the collection ended there.
    """
    first, past = row_span(collection.number)
    if after[1] and not first < after[1] < past:
        raise InvalidRequestError("the page token is that of another collection")
    with collection.guarded():
        if wanted is None:
            read_page = truth.page if with_vectors else truth.page_heads
            rows: Sequence[_Row] = read_page(collection.number, after, limit + 1, tenant=tenant)
        else:
            numbers = rows_of(collection.snapshot, wanted, tenant)
            numbers = numbers[np.searchsorted(numbers, after[1], side="right") :]
            rows = _read(truth, collection, numbers, limit + 1, with_vectors=with_vectors)
    items = tuple(map(_item, rows[:limit]))
    more = len(rows) > limit
    return Page(items, f"{rows[limit - 1].seq}.{rows[limit - 1].row}" if more else None)


def _read(
    truth: Truth, collection: Collection, numbers: Rows, limit: int, *, with_vectors: bool
) -> list[_Row]:
    """The first of some rows that are there."""
    read = truth.by_rows if with_vectors else truth.heads_by_rows
    rows: list[_Row] = []
    # rows that were deleted since the snapshot leave room for more
    for start in range(0, len(numbers), limit):
        found = read(collection.number, numbers[start : start + limit])
        rows += [found[number] for number in sorted(found)]
        if len(rows) >= limit:
            break
    return rows[:limit]


def _item(row: _Row) -> Item:
    """The item of a row, with its vector where that was read."""
    return row.item(with_vector=True) if isinstance(row, StoredRow) else row.item()

"""Draws items of a collection: bounded, seeded, each as likely as any other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from kokeshi import index
from kokeshi.errors import ItemNotFoundError
from kokeshi.index.filters import ID, Filter, In
from kokeshi.plugin import Sample, go_on
from kokeshi.service.collections.shaping import values_of

PAGE_ITEMS: Final = 1_000


@dataclass(frozen=True)
class Draw:
    """What is drawn, and from what.

    Attributes:
        most: items.
        scanned: items that ids are read of; a larger collection is sampled among the oldest.
        seed: of the draw.
        labels: field of the metadata that holds labels; "" for none.
    """

    most: int
    scanned: int
    seed: int
    labels: str = ""
    tenant: str = ""


def drawn_items(store: index.Store, name: str, draw: Draw) -> list[index.Item]:
    """Items with vectors, in the order of the collection; one deleted meanwhile is left out."""
    ids = [item.id for item in _scanned(store, name, draw)]
    if len(ids) > draw.most:
        rows = np.random.default_rng(draw.seed).choice(len(ids), draw.most, replace=False)
        ids = [ids[row] for row in np.sort(rows)]
    return list(items_of(store, name, ids, draw.tenant))


def items_of(
    store: index.Store, name: str, ids: Sequence[str], tenant: str
) -> Iterator[index.Item]:
    """Items by id with vectors; those that are not there are left out."""
    for start in range(0, len(ids), PAGE_ITEMS):
        go_on()
        yield from _those_there(store, name, ids[start : start + PAGE_ITEMS], tenant)


def _those_there(
    store: index.Store, name: str, ids: Sequence[str], tenant: str
) -> list[index.Item]:
    """Halves a page until what is not there is alone: few are, so few calls are needed."""
    try:
        return store.get(name, ids, with_vectors=True, tenant=tenant)
    except ItemNotFoundError:
        if len(ids) == 1:
            return []
    half = len(ids) // 2
    parts = (ids[:half], ids[half:])
    return [item for part in parts for item in _those_there(store, name, part, tenant)]


def ids_there(store: index.Store, name: str, ids: Sequence[str], tenant: str) -> set[str]:
    """Those of some ids that items have."""
    found: set[str] = set()
    for start in range(0, len(ids), PAGE_ITEMS):
        some = In(ID, tuple(ids[start : start + PAGE_ITEMS]))
        found.update(item.id for item in _scrolled(store, name, PAGE_ITEMS, tenant, some))
    return found


def _scanned(store: index.Store, name: str, draw: Draw) -> Iterator[index.Item]:
    return _scrolled(store, name, draw.scanned, draw.tenant)


def _scrolled(
    store: index.Store, name: str, most: int, tenant: str, filter: Filter | None = None
) -> Iterator[index.Item]:
    cursor, seen = None, 0
    while seen < most:
        go_on()
        limit = min(PAGE_ITEMS, most - seen)
        page = store.scroll(name, cursor=cursor, limit=limit, filter=filter, tenant=tenant)
        yield from page.items
        seen, cursor = seen + len(page.items), page.cursor
        if cursor is None:
            return


def sample_of(
    spec: index.CollectionSpec, items: Sequence[index.Item], labels: str, seed: int
) -> Sample:
    """Items as a plugin sees them."""
    return Sample(
        vectors=matrix_of(items, spec.dim),
        ids=tuple(item.id for item in items),
        labels=tuple(label_of(item.metadata, labels) for item in items) if labels else (),
        metadata=tuple(item.metadata for item in items),
        dimensions=spec.trained,
        space=spec.space,
        seed=seed,
    )


def matrix_of(items: Sequence[index.Item], dim: int) -> Any:  # noqa: ANN401 - float32 (n, dim)
    """Vectors of items, float32 (n, dim)."""
    rows = [item.vector for item in items if item.vector is not None]
    return np.stack(rows).astype(np.float32) if rows else np.empty((0, dim), np.float32)


def label_of(metadata: Any, field: str) -> str:  # noqa: ANN401 - a JSON object
    """The text, number or truth value of a field; "" where there is none."""
    found = next(values_of(metadata, field), "")
    return str(found).lower() if isinstance(found, bool) else str(found)

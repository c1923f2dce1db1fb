"""Items as rows of Milvus, and back."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson

from kokeshi.errors import InvalidRequestError
from kokeshi.index.distributed.keys import digest
from kokeshi.index.filters.milvus import holds_list
from kokeshi.index.geometry import SHORTEST_PREFIX, Doubles, unit
from kokeshi.index.items import Item, Vector
from kokeshi.index.milvus.layout import Layout

# Milvus sums squares in float32: beyond these norms they overflow, or vanish
SMALLEST_NORM: Final = 1e-15
LARGEST_NORM: Final = 1e15


def tenant_key(tenant: str) -> str:
    """What the field `tenant` holds: letters that need no quotes, whatever a tenant's name is."""
    return digest("tenant", tenant)


def keys_of(tenant: str, ids: Sequence[str]) -> list[str]:
    """Primary keys of items."""
    return [digest(tenant, item_id) for item_id in ids]


def rows_of(
    layout: Layout,
    items: Sequence[Item],
    vectors: Vector,
    metadata: Sequence[bytes],
    *,
    tenant: str,
    first_seq: int,
) -> list[dict[str, Any]]:
    """Rows of a batch, (rows, dim) `vectors`, numbered from `first_seq`."""
    _check_norms(layout, items, vectors)
    owner = tenant_key(tenant)
    keys = keys_of(tenant, [item.id for item in items])
    rows: list[dict[str, Any]] = [
        {
            "key": key,
            "tenant": owner,
            "id": item.id,
            "origin": item.origin,
            "seq": first_seq + place,
            "metadata": orjson.loads(encoded),
            "lists": holds_list(item.metadata),
            "full": vector,
        }
        for place, (key, item, encoded, vector) in enumerate(
            zip(keys, items, metadata, vectors, strict=True)
        )
    ]
    if layout.prefix is not None:
        for row, prefix in zip(rows, prefixes(layout, vectors), strict=True):
            row["prefix"] = prefix
    return rows


def prefixes(layout: Layout, vectors: Vector) -> Vector:
    """The field `prefix` of rows: unit norm under cosine, zero where there is no direction."""
    if layout.spec.metric != "cosine":
        return vectors[:, : layout.prefix].copy()
    cut: Doubles = unit(vectors)[:, : layout.prefix].astype(np.float64)
    norms = np.sqrt(np.square(cut).sum(axis=1, keepdims=True))
    scaled = np.divide(cut, norms, out=np.zeros_like(cut), where=norms > SHORTEST_PREFIX)
    return scaled.astype(np.float32)


def item_of(row: Mapping[str, Any], *, with_vector: bool) -> Item:
    """The item of a row."""
    vector = np.asarray(row["full"], np.float32) if with_vector else None
    return Item(row["id"], vector, row["metadata"], row["seq"], row["origin"])


def _check_norms(layout: Layout, items: Sequence[Item], vectors: Vector) -> None:
    if layout.spec.metric != "cosine":
        return
    norms = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1))
    bad = (norms < SMALLEST_NORM) | (norms > LARGEST_NORM)
    if bad.any():
        row = int(bad.argmax())
        raise InvalidRequestError(
            f"vector of {items[row].id!r} must have a norm in {SMALLEST_NORM:g}..{LARGEST_NORM:g} "
            f"in this store, got {norms[row]:g}"
        )

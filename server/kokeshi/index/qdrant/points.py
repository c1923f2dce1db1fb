"""Items as points of Qdrant, and back."""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import orjson

from kokeshi.index.filters.grammar import MAX_PATH_KEYS
from kokeshi.index.geometry import SHORTEST_PREFIX, unit
from kokeshi.index.items import Item, Vector
from kokeshi.index.qdrant.layout import Layout

NAMESPACE: Final = uuid.UUID("5f0f6a3e-4c0b-5b7e-9d0e-6b6f6b657368")
# Vectors this near to unit norm are stored as they were given: it is less than float32 makes of
# the product of two of them, and candidates are scored again.
NEAR_UNIT: Final = 1e-6
MAX_INTEGER: Final = 2**63 - 1
MIN_INTEGER: Final = -(2**63)

Row = dict[str, Any]


def key_of(tenant: str, item_id: str) -> str:
    """Id of a point: a UUID of version 5 (RFC 9562) of a tenant and an id."""
    return str(uuid.uuid5(NAMESPACE, f"{len(tenant)}:{tenant}{item_id}"))


def keys_of(tenant: str, ids: Iterable[str]) -> list[str]:
    """Ids of points."""
    return [key_of(tenant, item_id) for item_id in ids]


def points_of(
    layout: Layout,
    items: Sequence[Item],
    vectors: Vector,
    metadata: Sequence[bytes],
    *,
    tenant: str,
    first_seq: int,
) -> list[Any]:
    """Points of a batch, (rows, dim) `vectors`, numbered from `first_seq`."""
    from qdrant_client import models

    named = _named_vectors(layout, vectors)
    return [
        # the vectors were checked already, value by value
        models.PointStruct.model_construct(
            id=key_of(tenant, item.id),
            vector=named[place],
            payload=_payload(item, encoded, tenant, first_seq + place),
        )
        for place, (item, encoded) in enumerate(zip(items, metadata, strict=True))
    ]


def row_of(record: Any, *, with_vector: bool) -> Row:  # noqa: ANN401 - of a package that may be absent
    """A point as it was read."""
    payload = record.payload
    row: Row = {name: payload[name] for name in ("tenant", "id", "origin", "seq")}
    row["key"] = str(record.id)
    row["metadata"] = orjson.loads(payload["json"]) if "json" in payload else payload["metadata"]
    if with_vector:
        given = record.vector.get("given")
        row["full"] = np.asarray(record.vector["full"] if given is None else given, np.float32)
    return row


def item_of(row: Row) -> Item:
    """The item of a row."""
    return Item(row["id"], row.get("full"), row["metadata"], row["seq"], row["origin"])


def _named_vectors(layout: Layout, vectors: Vector) -> list[dict[str, list[float]]]:
    full = _stored(layout, vectors)
    named: list[dict[str, list[float]]] = [{"full": vector} for vector in full.tolist()]
    if layout.prefix is not None:
        for one, prefix in zip(named, _prefixes(layout, full).tolist(), strict=True):
            one["prefix"] = prefix
    changed = np.flatnonzero((full.view(np.uint32) != vectors.view(np.uint32)).any(axis=1))
    for place in changed:
        named[place]["given"] = vectors[place].tolist()
    return named


def _stored(layout: Layout, vectors: Vector) -> Vector:
    """The vectors `full`."""
    if layout.spec.metric != "cosine":
        return vectors
    norms = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1, keepdims=True))
    return np.where(np.abs(norms - 1) <= NEAR_UNIT, vectors, unit(vectors))


def _prefixes(layout: Layout, full: Vector) -> Vector:
    """The vectors `prefix`: unit norm under cosine, zero where there is no direction."""
    if layout.spec.metric != "cosine":
        return full[:, : layout.prefix]
    cut = full[:, : layout.prefix].astype(np.float64)
    norms = np.sqrt(np.square(cut).sum(axis=1, keepdims=True))
    scaled = np.divide(cut, norms, out=np.zeros_like(cut), where=norms > SHORTEST_PREFIX)
    return scaled.astype(np.float32)


def _payload(item: Item, encoded: bytes, tenant: str, seq: int) -> dict[str, Any]:
    metadata = orjson.loads(encoded)
    kept = _carried(metadata, MAX_PATH_KEYS)
    payload = {
        "tenant": tenant,
        "id": item.id,
        "origin": item.origin,
        "seq": seq,
        "metadata": kept,
    }
    if kept is not metadata:
        payload["json"] = encoded.decode()
    return payload


def _carried(value: Any, depth: int) -> Any:  # noqa: ANN401 - any JSON
    """A JSON value as far as filters reach, of what the wire can carry; itself where it all is.

    The wire knows integers of 64 bits with a sign, and messages of a hundred levels at most.
    """
    if isinstance(value, int) and not MIN_INTEGER <= value <= MAX_INTEGER:
        return float(value)
    if not isinstance(value, dict | list) or not value:
        return value
    if depth < 0:
        return {}
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    kept = {key: _carried(part, depth - 1) for key, part in parts}
    if all(kept[key] is value[key] for key in kept):
        return value
    return kept if isinstance(value, dict) else list(kept.values())

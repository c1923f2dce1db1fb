"""Seeded writes: operation number n of a seed is the same in every process."""

import functools
import zlib
from dataclasses import dataclass

import numpy as np

from kokeshi.index import CollectionSpec, Item, Tuning
from kokeshi.index.filters import Equals

SPACE = "0123456789abcdef"
NAME = "faces"
DIM = 16
TENANTS = ("", "red", "blue")
IDS = 60  # of a tenant: few, so that they are replaced, deleted and written again
GROUPS = 6
KINDS = ("upsert", "delete", "delete_group")
WEIGHTS = (0.72, 0.2, 0.08)


@dataclass(frozen=True)
class Operation:
    """One write. `group` is that of a delete by filter; `ids` are empty then."""

    seed: int
    number: int
    kind: str
    tenant: str
    ids: tuple[str, ...]
    group: int
    request_id: str | None

    def items(self):
        return [item_of(self.seed, self.number, i, item_id) for i, item_id in enumerate(self.ids)]


def operation(seed, number):
    rng = np.random.default_rng([seed, number])
    kind = str(rng.choice(KINDS, p=WEIGHTS))
    size = 0 if kind == "delete_group" else int(rng.integers(1, 12))
    ids = tuple(f"id{i}" for i in rng.choice(IDS, size, replace=False))
    request_id = f"r{seed}.{number}" if kind == "upsert" and rng.random() < 0.5 else None
    tenant = TENANTS[int(rng.integers(len(TENANTS)))]
    return Operation(seed, number, kind, tenant, ids, int(rng.integers(GROUPS)), request_id)


@functools.lru_cache(maxsize=100_000)
def item_of(seed, number, position, item_id):
    """An item whose metadata say what its vector must be."""
    rng = np.random.default_rng([seed, number, position])
    vector = rng.standard_normal(DIM, dtype=np.float32)
    metadata = {
        "seed": seed,
        "op": number,
        "position": position,
        "group": int(rng.integers(GROUPS)),
        "crc": zlib.crc32(vector),
    }
    vector.flags.writeable = False  # it is shared
    return Item(item_id, vector, metadata)


def perform(store, operation, name=NAME):
    """Does it; returns the receipt."""
    tenant = operation.tenant
    if operation.kind == "upsert":
        return store.upsert(
            name,
            operation.items(),
            space=SPACE,
            request_id=operation.request_id,
            tenant=tenant,
        )
    if operation.kind == "delete":
        return store.delete(name, operation.ids, tenant=tenant)
    return store.delete(name, filter=Equals("group", operation.group), tenant=tenant)


def spec(name=NAME, **settings):
    return CollectionSpec(name, SPACE, DIM, dimensions=(4, 8, DIM), **settings)


def small_tuning(**settings):
    """Thresholds so low that indexes are built and files written all the time."""
    low = {
        "segment_rows": 40,
        "codes_rows": 50,
        "hnsw_rows": 100,
        "tail_rows": 20,
        "dead_rows": 10,
        "dead_share": 0.1,
        "gather_rows": 5,
    }
    return Tuning(**low | settings)

"""Rows that are deleted and inserted again: right throughout, and neither memory nor disk grows."""

import numpy as np
import pytest
from faultkit.work import DIM, NAME, SPACE, small_tuning, spec

from kokeshi.index import EmbeddedStore, Item, SearchParams

FAMILY = "12 churn"
ROWS = 400
LEAST_RECALL = 0.98
MOST_LOG_BYTES = 80 * 2**20


def self_recall(store, vectors, rng):
    """Share of the ten nearest by NumPy that the store's own choice of index finds."""
    names = list(vectors)
    matrix = np.stack([vectors[name] for name in names])
    matrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    queries = rng.standard_normal((10, DIM), dtype=np.float32)
    found = store.search(NAME, queries, SearchParams(k=10), space=SPACE).hits
    right = 0
    for query, hits in zip(queries, found, strict=True):
        best = {names[i] for i in np.argsort(-(matrix @ query))[:10]}
        right += len(best & {hit.id for hit in hits})
    return right / 100


def disk_bytes(directory):
    """Of the database and the index files; SQLite's log has a bound of its own."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files if "sqlite-" not in path.name)


@pytest.mark.parametrize("index", ["codes", "hnsw", "ivf"])
def test_churn_keeps_recall_memory_and_disk(tmp_path, seed, rounds, tally, index):
    rng = np.random.default_rng(seed)
    vectors, sizes, operations, recalls = {}, [], 0, []
    with EmbeddedStore(tmp_path, small_tuning()) as store:
        store.create(spec(index=index, durability="os"))
        for turn in range(rounds(8, 400)):
            operations += replace_some(store, vectors, rng, turn)
            assert store.wait_idle()
            recalls.append(self_recall(store, vectors, rng))
            info = store.describe(NAME)
            assert info.count == len(vectors)
            assert store.stats().wal_bytes < MOST_LOG_BYTES
            sizes.append((info.memory_bytes, disk_bytes(tmp_path)))
    tally(operations=operations)
    assert np.mean(recalls) >= LEAST_RECALL, recalls
    early = np.max(sizes[2:5], axis=0)
    late = np.max(sizes[-3:], axis=0)
    assert (late <= 3 * early + 2**20).all(), f"(memory, disk) {early} grew to {late}"


def replace_some(store, vectors, rng, turn):
    """Deletes a third, inserts as many, replaces some; how many rows that were."""
    gone = [name for name in vectors if rng.random() < 0.3]
    if gone:
        store.delete(NAME, gone)
    for name in gone:
        del vectors[name]
    missing = ROWS - len(vectors)
    names = gone[: missing // 2] + [f"{turn}.{i}" for i in range(missing - missing // 2)]
    names += [name for name in vectors if rng.random() < 0.05]
    fresh = rng.standard_normal((len(names), DIM), dtype=np.float32)
    store.upsert(
        NAME, [Item(name, vector) for name, vector in zip(names, fresh, strict=True)], space=SPACE
    )
    vectors.update(zip(names, fresh, strict=True))
    return len(gone) + len(names)

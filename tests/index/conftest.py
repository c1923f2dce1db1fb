"""Embeddings to search, and a store to search them in."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
SHARED = {path.stem for path in HERE.glob("*.py") if not path.stem.startswith("test_")}
sys.path.insert(0, str(HERE))  # the tests share modules beside them
# those that other tests have imported by now must not be registered any more
pytest.register_assert_rewrite(*sorted(SHARED - {"conftest"} - sys.modules.keys()))

from kokeshi.index import CollectionSpec, EmbeddedStore, Item, Tuning  # noqa: E402

SPACE = "0123456789abcdef"


def make_clustered(rows, dim, seed=0, clusters=50):
    """Unit vectors in clusters, with energy that decays over the dimensions, like Matryoshka's."""
    rng = np.random.default_rng(seed)
    spectrum = (np.arange(1, dim + 1) ** -0.5).astype(np.float32)
    centres = rng.standard_normal((clusters, dim), dtype=np.float32)
    noise = rng.standard_normal((rows, dim), dtype=np.float32)
    vectors = (centres[rng.integers(clusters, size=rows)] + 0.7 * noise) * spectrum
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_items(vectors, first=0):
    return [
        Item(f"id{first + i}", vector, {"number": first + i}) for i, vector in enumerate(vectors)
    ]


def fill_collection(store, name, vectors, batch=1000):
    for start in range(0, len(vectors), batch):
        store.upsert(name, make_items(vectors[start : start + batch], start), space=SPACE)


@pytest.fixture
def clustered():
    return make_clustered


@pytest.fixture
def items():
    return make_items


@pytest.fixture
def fill():
    return fill_collection


@pytest.fixture
def small_tuning():
    """Thresholds that a test can cross."""
    return Tuning(segment_rows=250, tail_rows=200, hnsw_rows=1000, ef_search=64)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    with EmbeddedStore(tmp_path / "data") as opened:
        yield opened


@pytest.fixture
def faces(store):
    """A Matryoshka collection named faces in `store`."""
    store.create(CollectionSpec("faces", SPACE, 16, dimensions=(4, 8, 16)))
    return store

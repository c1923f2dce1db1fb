"""The graph: its recall, and when it is built, extended and left alone."""

import numpy as np
import pytest

from kokeshi.index import CollectionSpec, EmbeddedStore, Item, SearchParams, Tuning

SPACE = "0123456789abcdef"


def recall(store, queries, params, k=10):
    exact = store.search("faces", queries, SearchParams(k, exact=True), space=SPACE)
    found = store.search("faces", queries, params, space=SPACE)
    assert exact.is_exact
    assert not found.is_exact
    agreed = sum(
        len({hit.id for hit in one} & {hit.id for hit in two})
        for one, two in zip(exact.hits, found.hits, strict=True)
    )
    return agreed / (k * len(queries))


@pytest.mark.parametrize(
    ("metric", "graph_dimension"), [("cosine", None), ("l2", None), ("cosine", 32)]
)
def test_the_graph_finds_what_a_scan_finds(tmp_path, clustered, fill, metric, graph_dimension):
    spec = CollectionSpec(
        "faces",
        SPACE,
        64,
        dimensions=(16, 32, 64),
        metric=metric,
        index="hnsw",
        graph_dimension=graph_dimension,
    )
    # a graph over a prefix shortlists generously: it needs more rows than that to be used
    rows = 4000 if graph_dimension is None else 11_000
    queries = clustered(100, 64, seed=1)
    with EmbeddedStore(tmp_path, Tuning(tail_rows=1000)) as store:
        store.create(spec)
        fill(store, "faces", clustered(rows, 64), batch=10_000)
        assert store.wait_idle()
        assert store.describe("faces").kind == "hnsw"
        assert recall(store, queries, SearchParams(10)) >= 0.95
        gone = [
            hit.id
            for hit in store.search("faces", queries[:1], SearchParams(50), space=SPACE).hits[0]
        ]
        store.delete("faces", gone)
        found = store.search("faces", queries[:1], SearchParams(50), space=SPACE).hits[0]
        assert len(found) == 50
        assert not set(gone) & {hit.id for hit in found}
        assert recall(store, queries[:20], SearchParams(10)) >= 0.95


def test_an_auto_collection_turns_from_flat_to_graph_and_back(
    tmp_path, clustered, fill, small_tuning
):
    vectors = clustered(2500, 16)
    with EmbeddedStore(tmp_path, small_tuning) as store:
        store.create(CollectionSpec("faces", SPACE, 16))
        kinds = []
        for start in range(0, 2500, 500):
            store.upsert("faces", _items(vectors, start, start + 500), space=SPACE)
            assert store.wait_idle()
            kinds.append(store.describe("faces").kind)
        assert kinds == ["flat", "hnsw", "hnsw", "hnsw", "hnsw"]
        store.delete("faces", [f"id{i}" for i in range(2000)])
        assert store.wait_idle()
        info = store.describe("faces")
        assert (info.kind, info.dead, info.count) == ("flat", 0, 500)


def _items(vectors, start, end):
    return [Item(f"id{i}", vectors[i]) for i in range(start, end)]


def test_a_graph_with_few_rows_left_still_finds_them_all(tmp_path, clustered, fill):
    vectors = clustered(4000, 16)
    with EmbeddedStore(tmp_path, Tuning(tail_rows=1000, dead_share=1.0)) as store:
        store.create(CollectionSpec("faces", SPACE, 16, index="hnsw"))
        fill(store, "faces", vectors, batch=4000)
        assert store.wait_idle()
        store.delete("faces", [f"id{i}" for i in range(3990)])
        found = store.search("faces", vectors[:1], SearchParams(20), space=SPACE)
        assert {hit.id for hit in found.hits[0]} == {f"id{i}" for i in range(3990, 4000)}


@pytest.mark.parametrize("dim", [64, 256])
def test_the_graph_tells_near_duplicates_apart(tmp_path, clustered, fill, dim):
    """Nodes hold fewer bits than rows: what a walk finds must reach the exact scores."""
    spec = CollectionSpec("faces", SPACE, dim, index="hnsw")
    originals = clustered(60, dim)
    noise = np.random.default_rng(5).normal(size=(3000, dim)).astype(np.float32)
    copies = np.repeat(originals, 50, axis=0) + 1e-3 * np.abs(originals).max() * noise
    with EmbeddedStore(tmp_path, Tuning(tail_rows=1000)) as store:
        store.create(spec)
        fill(store, "faces", copies)
        assert store.wait_idle()
        assert store.describe("faces").kind == "hnsw"
        assert recall(store, originals, SearchParams(10)) >= 0.95


def test_a_collection_tells_what_searches_it_and_not_what_was_built(tmp_path, clustered, fill):
    """A graph stays after a restart with thresholds by which no plain search walks it."""
    query, plain = clustered(1, 16, seed=1), SearchParams()
    narrow, wide = Tuning(hnsw_rows=1000, tail_rows=200, ef_search=64), Tuning(codes_rows=1500)
    told = []
    for tuning in (narrow, wide, narrow):
        with EmbeddedStore(tmp_path, tuning) as store:
            if not told:
                store.create(CollectionSpec("faces", SPACE, 16))
                fill(store, "faces", clustered(1200, 16))
                assert store.wait_idle()
            assert store._collections["faces"].snapshot.form.kind == "hnsw"
            route = store.search("faces", query, plain, space=SPACE).route.kind
            told.append(route)
            assert store.describe("faces").kind == route
    assert told == ["hnsw", "flat", "hnsw"]

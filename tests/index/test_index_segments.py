"""Segments: how rows are sealed, deleted and compacted, and what a search that runs on sees."""

import threading
import time

import numpy as np
import pytest

from kokeshi.errors import UnavailableError
from kokeshi.index import CollectionSpec, EmbeddedStore, Item, SearchParams, Tuning
from kokeshi.index.collection import Collection
from kokeshi.index.compaction import compacted
from kokeshi.index.filters import Equals
from kokeshi.index.geometry import Geometry
from kokeshi.index.segments import Grower, is_mapped

SPACE = "0123456789abcdef"
SPEC = CollectionSpec("faces", SPACE, 8, dimensions=(4, 8))
TUNING = Tuning(segment_rows=100, dead_rows=20, dead_share=0.2, codes_rows=10**6)
NOTHING = np.empty(0, np.int64)


def records(rows):
    return [(f"id{row}", "", "", b'{"row":%d}' % row) for row in rows]


def vectors_of(rows):
    return np.stack([np.random.default_rng(row).standard_normal(8) for row in rows]).astype("f4")


def added(collection, seq, rows):
    rows = np.asarray(rows)
    block = collection.geometry.block(rows, vectors_of(rows))
    collection.apply(seq, block, collection.encoded(block), records(rows.tolist()), NOTHING)


@pytest.fixture
def collection():
    return Collection(1, SPEC, TUNING)


def sizes(collection):
    return [len(segment) for segment in collection.snapshot.segments]


def assert_holds(snapshot, live):
    """The snapshot's live rows are these, with their own vectors, codes and metadata."""
    geometry = Geometry.of(SPEC)
    rows = []
    for segment in snapshot.segments:
        if not len(segment):
            continue
        right = geometry.block(segment.block.rows, vectors_of(segment.block.rows))
        np.testing.assert_array_equal(segment.block.matrix, right.matrix)
        np.testing.assert_array_equal(segment.block.scales, right.scales)
        decoded = segment.codes.steps * segment.codes.scales[:, None]
        np.testing.assert_allclose(decoded, right.matrix[:, : segment.codes.width], atol=0.01)
        assert len(segment.columns) == len(segment)
        alive = np.ones(len(segment), bool) if segment.live is None else segment.live
        assert segment.dead == len(segment) - alive.sum()
        rows += segment.block.rows[alive].tolist()
    assert rows == sorted(live)
    assert snapshot.count == len(live)
    for row in sorted(live)[:: max(1, len(live) // 5)]:
        masks = snapshot.allowed("", Equals("row", row))
        assert snapshot.counted(masks) == 1


def test_a_full_segment_is_sealed_where_a_write_ends_and_never_copied(collection):
    added(collection, 1, range(40))
    tail = collection.snapshot.tail
    added(collection, 2, range(40, 90))
    assert sizes(collection) == [90]
    added(collection, 3, range(90, 120))  # does not fit beside them
    assert sizes(collection) == [90, 30]
    added(collection, 4, range(120, 370))  # larger than a segment may be
    assert sizes(collection) == [90, 30, 250, 0]
    assert [segment.seq for segment in collection.snapshot.sealed] == [2, 3, 4]
    assert_holds(collection.snapshot, set(range(370)))
    assert len(tail) == 40  # what was handed out has not changed
    np.testing.assert_array_equal(tail.block.rows, np.arange(40))


def test_sealing_shares_the_memory_of_the_rows(collection):
    added(collection, 1, range(60))
    before = collection.snapshot.tail.block.matrix
    after = collection.seal().sealed[0].block.matrix
    assert np.shares_memory(before, after)


def test_a_delete_leaves_older_snapshots_as_they_were(collection):
    added(collection, 1, range(120))
    added(collection, 2, range(120, 150))
    before = collection.snapshot
    collection.apply(3, None, None, [], np.asarray([5, 130, 9999]))
    assert_holds(before, set(range(150)))
    assert_holds(collection.snapshot, set(range(150)) - {5, 130})
    added(collection, 4, range(150, 160))
    assert_holds(collection.snapshot, set(range(160)) - {5, 130})
    assert collection.snapshot.dead == 2


def test_compaction_drops_the_dead_and_keeps_what_is_mostly_alive(collection):
    for seq, start in enumerate(range(0, 500, 100), 1):
        added(collection, seq, range(start, start + 100))
    gone = {*range(60), *range(100, 105), *range(200, 290), *range(300, 400)}
    collection.apply(6, None, None, [], np.asarray(sorted(gone)))
    old = collection.seal()
    fresh = compacted(old.sealed, TUNING, lambda: None)
    assert [len(segment) for segment in fresh] == [40, 100, 10, 100]
    assert fresh[1] is old.sealed[1]
    assert fresh[3] is old.sealed[4]
    # rows that are written and deleted while that was under way
    added(collection, 7, range(500, 530))
    collection.apply(8, None, None, [], np.asarray([70, 150, 505]))
    collection.adopt_compacted(fresh, None, old)
    assert_holds(collection.snapshot, set(range(530)) - gone - {70, 150, 505})
    added(collection, 9, range(530, 540))
    assert_holds(collection.snapshot, set(range(540)) - gone - {70, 150, 505})


def test_random_writes_seals_and_compactions_keep_every_live_row(collection):
    rng = np.random.default_rng(3)
    live, following = set(), 0
    for seq in range(1, 120):
        count = int(rng.integers(1, 40))
        added(collection, seq, range(following, following + count))
        live |= set(range(following, following + count))
        following += count
        gone = rng.choice(sorted(live), min(len(live), int(rng.integers(0, 30))), replace=False)
        collection.apply(seq, None, None, [], gone)
        live -= set(gone.tolist())
        if seq % 7 == 0:
            old = collection.seal()
            collection.adopt_compacted(compacted(old.sealed, TUNING, lambda: None), None, old)
            assert collection.snapshot.dead <= 0.1 * collection.snapshot.rows
        if seq % 10 == 0:
            assert_holds(collection.snapshot, live)
    assert_holds(collection.snapshot, live)


def test_a_grower_without_codes_keeps_none():
    grower = Grower(Geometry.of(SPEC), None, 100)
    block = Geometry.of(SPEC).block(np.arange(3), vectors_of(range(3)))
    assert grower.append(block, None, records(range(3)), 1).codes is None


def test_churn_leaves_memory_and_files_bounded(tmp_path, clustered):
    vectors = clustered(400, 8)
    tuning = Tuning(segment_rows=200, dead_rows=100)
    with EmbeddedStore(tmp_path, tuning) as store:
        store.create(CollectionSpec("faces", SPACE, 8, durability="os"))
        for turn in range(20):
            rows = [Item(f"id{i}", v, {"turn": turn}) for i, v in enumerate(vectors)]
            store.upsert("faces", rows, space=SPACE)
            assert store.wait_idle()
        info = store.describe("faces")
        assert info.count == 400
        assert info.dead <= 100
        files = list((tmp_path / "indexes" / "1").iterdir())
        assert sum(path.stat().st_size for path in files) < 4 * vectors.nbytes
        assert store.count("faces", filter=Equals("turn", 19)) == 400
        assert all(is_mapped(s.block.matrix) for s in _snapshot(store).sealed)


def _snapshot(store):
    return store._collections["faces"].snapshot


def test_a_search_waits_for_the_write_it_must_see(tmp_path):
    with EmbeddedStore(tmp_path, Tuning(min_seq_wait_s=5.0)) as store:
        store.create(SPEC)

        def write():
            time.sleep(0.2)
            store.upsert("faces", [Item("a", np.ones(8))], space=SPACE)

        writing = threading.Thread(target=write)
        writing.start()
        found = store.search("faces", np.ones((1, 8)), SearchParams(min_seq=1), space=SPACE)
        writing.join()
        assert found.seq == 1
        assert [hit.id for hit in found.hits[0]] == ["a"]


def test_a_search_for_a_write_that_does_not_come_fails(tmp_path):
    with EmbeddedStore(tmp_path, Tuning(min_seq_wait_s=0.05)) as store:
        store.create(SPEC)
        with pytest.raises(UnavailableError, match="is at write 0, asked for 1"):
            store.search("faces", np.ones((1, 8)), SearchParams(min_seq=1), space=SPACE)


def test_the_progress_of_a_build_is_told(tmp_path, clustered):
    seen = set()
    with EmbeddedStore(tmp_path, Tuning(tail_rows=1000, ef_construction=300)) as store:
        store.create(CollectionSpec("faces", SPACE, 64, index="hnsw"))
        rows = [Item(f"id{i}", v) for i, v in enumerate(clustered(5000, 64))]
        store.upsert("faces", rows, space=SPACE)
        while not store.wait_idle(0.002):
            seen.add(store.describe("faces").progress)
        assert store.describe("faces").progress is None
    shares = [share for share in seen if share is not None]
    assert all(0 <= share <= 1 for share in shares)
    assert len(shares) > 1

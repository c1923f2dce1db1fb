"""Searches, writes and rebuilds at the same time."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kokeshi.errors import AlreadyExistsError, UnavailableError
from kokeshi.index import CollectionSpec, EmbeddedStore, Item, SearchParams, Tuning

SPACE = "0123456789abcdef"
DIM = 16


def self_checking(number, version):
    """A vector that its metadata can be checked against."""
    vector = np.random.default_rng([number, version]).standard_normal(DIM).astype(np.float32)
    return Item(f"id{number}", vector, {"number": number, "version": version})


def assert_whole(hit, query):
    expected = self_checking(hit.metadata["number"], hit.metadata["version"]).vector
    assert hit.id == f"id{hit.metadata['number']}"
    np.testing.assert_array_equal(hit.vector, expected)
    cosine = expected @ query / np.linalg.norm(expected) / np.linalg.norm(query)
    assert hit.score == pytest.approx(cosine, abs=1e-5)


@pytest.mark.parametrize("index", ["flat", "codes", "hnsw"])
def test_searches_are_right_while_rows_are_written_deleted_and_rebuilt(tmp_path, index):
    tuning = Tuning(tail_rows=150, dead_rows=100, dead_share=0.05, segment_rows=300)
    floor: dict[int, int] = {}  # the version that a search begun now must at least see
    stop = threading.Event()
    with EmbeddedStore(tmp_path, tuning) as store:
        store.create(CollectionSpec("faces", SPACE, DIM, index=index, durability="os"))
        store.upsert("faces", [self_checking(i, 0) for i in range(1500)], space=SPACE)

        def search(seed):
            rng = np.random.default_rng(seed)
            searches = 0
            while not stop.is_set():
                expected = dict(floor)
                query = rng.standard_normal(DIM).astype(np.float32)
                params = SearchParams(20, with_vectors=True)
                hits = store.search("faces", query[None], params, space=SPACE).hits[0]
                assert len(hits) == 20
                assert len({hit.id for hit in hits}) == 20
                for hit in hits:
                    assert_whole(hit, query)
                    number = hit.metadata["number"]
                    assert hit.metadata["version"] >= expected.get(number, 0)
                searches += 1
            return searches

        def write():
            rng = np.random.default_rng(99)
            deadline = time.monotonic() + 2
            version = 1
            while time.monotonic() < deadline:
                numbers = rng.choice(1500, 40, replace=False).tolist()
                store.upsert("faces", [self_checking(i, version) for i in numbers], space=SPACE)
                gone = rng.choice(np.arange(1500, 1600), 20, replace=False).tolist()
                store.delete("faces", [f"id{i}" for i in gone])
                store.upsert("faces", [self_checking(i, version) for i in gone[:10]], space=SPACE)
                floor.update(dict.fromkeys(numbers, version))
                version += 1
            stop.set()
            return version

        with ThreadPoolExecutor(5) as pool:
            searches = [pool.submit(search, seed) for seed in range(4)]
            writes = pool.submit(write)
            try:
                assert writes.result() > 3
            finally:
                stop.set()
            assert sum(done.result() for done in searches) > 20
        assert store.wait_idle()
        assert store.stats().index_builds > 1
        assert store.describe("faces").quarantine is None


def test_concurrent_writes_share_commits_and_none_is_lost(store):
    store.create(CollectionSpec("faces", SPACE, DIM))
    before = store.stats()
    with ThreadPoolExecutor(16) as pool:
        receipts = list(
            pool.map(
                lambda i: store.upsert("faces", [self_checking(i, 0)], space=SPACE), range(400)
            )
        )
    after = store.stats()
    assert sorted(receipt.seq for receipt in receipts) == list(range(1, 401))
    assert after.writes - before.writes == 400
    assert after.commits - before.commits < 400
    assert store.describe("faces").count == 400


def test_one_of_many_equal_requests_is_written(store):
    store.create(CollectionSpec("faces", SPACE, DIM))
    rows = [self_checking(1, 0)]

    def add(request_id):
        try:
            return store.upsert("faces", rows, space=SPACE, add_only=True, request_id=request_id)
        except AlreadyExistsError:
            return None

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(add, ["same"] * 30)) == {
            store.upsert("faces", rows, space=SPACE, request_id="same")
        }
        assert set(pool.map(add, [f"r{i}" for i in range(30)])) == {None}
    assert store.describe("faces").seq == 1


def test_one_of_many_ensures_makes_the_collection(store):
    spec = CollectionSpec("faces", SPACE, DIM)
    with ThreadPoolExecutor(8) as pool:
        assert len({info.spec for info in pool.map(store.ensure, [spec] * 16)}) == 1


def test_a_refused_write_does_not_spoil_those_it_shares_a_commit_with(store):
    store.create(CollectionSpec("faces", SPACE, DIM))
    store.upsert("faces", [self_checking(0, 0)], space=SPACE)

    def write(i):
        rows = [self_checking(i, 0), self_checking(0 if i % 2 else i + 1000, 0)]
        try:
            store.upsert("faces", rows, space=SPACE, add_only=True)
        except AlreadyExistsError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        written = list(pool.map(write, range(1, 201)))
    assert written == [i % 2 == 0 for i in range(1, 201)]
    assert store.describe("faces").count == 1 + 2 * 100


def test_closing_under_load_loses_nothing_acknowledged(tmp_path):
    store = EmbeddedStore(tmp_path, Tuning(tail_rows=100, segment_rows=200))
    store.create(CollectionSpec("faces", SPACE, DIM))

    def write(start):
        done = []
        for i in range(start, start + 100_000):
            try:
                store.upsert("faces", [self_checking(i, 0)], space=SPACE)
            except UnavailableError:
                return done
            done.append(f"id{i}")
        return done

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, 1_000_000 * i) for i in range(4)]
        time.sleep(0.3)
        store.close()
        acknowledged = [item_id for writer in writers for item_id in writer.result()]
    assert acknowledged
    with EmbeddedStore(tmp_path) as reopened:
        assert len(reopened.get("faces", acknowledged)) == len(acknowledged)

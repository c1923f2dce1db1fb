"""Rows on a GPU: found as on the CPU, by one thread, within FAISS's bounds, freed when left."""

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from gpu_stand_in import machine_with
from waiting import wait_for

from kokeshi.errors import OverloadedError
from kokeshi.index.forms import BuildStoppedError
from kokeshi.index.geometry import Geometry
from kokeshi.index.gpu.faults import UnfitRowsError
from kokeshi.index.gpu.frame import Frame
from kokeshi.index.gpu.gpus import Gpus
from kokeshi.index.gpu.limits import GpuLimits
from kokeshi.index.kernels import Part, nearest, settle
from kokeshi.index.spec import CollectionSpec

ROWS, DIM = 3000, 32
LIMITS = GpuLimits(shard_bytes=2 * DIM * 700, timeout_s=10.0, room_wait_s=0.05)


def parts_of(metric, vectors):
    geometry = Geometry(metric, (16, DIM))
    half = len(vectors) // 2
    return geometry, [
        Part(geometry.block(np.arange(chosen.start, chosen.stop), vectors[chosen]))
        for chosen in (slice(0, half), slice(half, len(vectors)))
    ]


def built(machine, parts, metric="cosine", lengths=(DIM,), before=None, limits=LIMITS, **others):
    spec = CollectionSpec("a", "", DIM, dimensions=(16, DIM), metric=metric, index="gpu")
    stopped = others.pop("stopped", lambda: False)
    return machine.gpus.build(
        spec, parts, lengths, before, limits, stopped, others.pop("tell", lambda share: None)
    )


def expected(geometry, parts, query, k):
    [exact] = nearest(geometry, parts, [query], k)
    return settle(geometry, parts, exact, query, k)[0]


@pytest.fixture(params=[1, 3])
def machine(monkeypatch, request):
    with machine_with(monkeypatch, request.param) as made:
        yield made


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("length", [16, DIM])
def test_the_nearest_rows_are_among_the_candidates(machine, clustered, metric, length):
    vectors = 3 * clustered(ROWS, DIM) + np.float32(5)  # a mean that float16 would drown in
    geometry, parts = parts_of(metric, vectors)
    form = built(machine, parts, metric, (length,))
    assert (form.kind, form.first, form.size, form.memory_bytes) == ("gpu", length, ROWS, 0)
    assert {shard.owner.number for shard in form.shards} == set(range(machine.count))
    allowed = np.random.default_rng(0).random(ROWS) < 0.4
    masked = [part._replace(allowed=allowed[part.block.rows]) for part in parts]
    queries = [geometry.query(vector, length) for vector in vectors[::300]]
    for mask, whole in ((None, parts), (allowed, masked)):
        for query, found in zip(queries, form.candidates_of(queries, 60, None, mask), strict=True):
            assert np.all(np.diff(found) > 0)
            assert len(found) == 60
            assert mask is None or mask[found].all()
            assert np.isin(expected(geometry, whole, query, 10), found).all()


def test_no_more_neighbours_are_asked_for_than_faiss_can(machine, clustered):
    geometry, parts = parts_of("cosine", clustered(ROWS, DIM))
    form = built(machine, parts, limits=GpuLimits())
    query = geometry.query(clustered(1, DIM)[0], DIM)
    allowed = np.arange(ROWS) % 100 == 0
    assert 0 < len(form.candidates(query, 10_000)) <= 2048 * machine.count
    found = form.candidates(query, 500, None, allowed)
    assert allowed[found].all()
    assert max(k for _, _, k in machine.searches) <= 2048


def test_rows_that_come_later_share_the_shards_that_are_there(machine, clustered):
    vectors = clustered(ROWS, DIM)
    geometry, parts = parts_of("cosine", vectors)
    old = built(machine, parts[:1])
    used = sum(machine.used_bytes.values())
    new = built(machine, parts, before=old)
    assert new.shards[: len(old.shards)] == old.shards
    assert (old.size, new.size) == (ROWS // 2, ROWS)
    assert sum(machine.used_bytes.values()) == 2 * used
    query = geometry.query(vectors[-1], DIM)
    assert ROWS - 1 in new.candidates(query, 20)
    assert max(old.candidates(query, 20)) < ROWS // 2


def test_what_nobody_holds_is_freed_by_the_thread_that_made_it(machine, clustered):
    _, parts = parts_of("cosine", clustered(ROWS, DIM))
    old = built(machine, parts[:1])
    new = built(machine, parts, before=old)
    owners = machine.gpus.owners(LIMITS)
    assert sum(owner.room.taken_bytes for owner in owners) == new.resident_bytes
    del old, new
    gc.collect()
    wait_for(lambda: not sum(owner.room.taken_bytes for owner in owners))
    assert sum(machine.used_bytes.values()) == 0


def test_searches_that_come_together_go_as_one_call(monkeypatch, clustered):
    with machine_with(monkeypatch, 1) as machine:
        vectors = clustered(500, DIM)
        geometry, parts = parts_of("cosine", vectors)
        form = built(machine, parts)
        alone = [
            form.candidates(geometry.query(one, DIM), 5 + i) for i, one in enumerate(vectors[:16])
        ]
        machine.searches.clear()
        machine.hanging = threading.Event()
        with ThreadPoolExecutor(16) as pool:
            asked = [
                pool.submit(form.candidates, geometry.query(one, DIM), 5 + i)
                for i, one in enumerate(vectors[:16])
            ]
            time.sleep(0.2)
            machine.hanging.set()
            together = [one.result() for one in asked]
        assert len(machine.searches) <= 3
        assert sum(queries for _, queries, _ in machine.searches) == 16
        for one, other in zip(alone, together, strict=True):
            assert one.tolist() == other.tolist()


def test_more_searches_than_may_wait_are_refused(monkeypatch, clustered):
    with machine_with(monkeypatch, 1) as machine:
        geometry, parts = parts_of("cosine", clustered(100, DIM))
        form = built(machine, parts, limits=GpuLimits(queue_jobs=2, timeout_s=2.0))
        query = geometry.query(clustered(1, DIM)[0], DIM)
        machine.hanging = threading.Event()
        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(form.candidates, query, 5) for _ in range(2)]
            time.sleep(0.1)
            with pytest.raises(OverloadedError, match="expected no more"):
                form.candidates(query, 5)
            machine.hanging.set()
            assert all(len(one.result()) == 5 for one in waiting)
        assert len(form.candidates(query, 5)) == 5


def test_a_gpu_that_hangs_is_given_up_and_finds_nothing_more(monkeypatch, clustered, caplog):
    with machine_with(monkeypatch, 1) as machine:
        geometry, parts = parts_of("cosine", clustered(100, DIM))
        form = built(machine, parts, limits=GpuLimits(timeout_s=0.2))
        query = geometry.query(clustered(1, DIM)[0], DIM)
        machine.hanging = threading.Event()
        assert form.candidates(query, 5).tolist() == []
        assert form.is_lost
        assert "does not answer" in caplog.text
        assert machine.gpus.owners(LIMITS) == []
        assert form.candidates(query, 5).tolist() == []
        assert len(machine.searches) == 1


def test_a_gpu_that_fails_is_given_up_loudly_and_whoever_watches_is_told(
    monkeypatch, clustered, caplog
):
    with machine_with(monkeypatch, 2) as machine:
        geometry, parts = parts_of("cosine", clustered(100, DIM))
        form = built(machine, parts)
        query = geometry.query(clustered(1, DIM)[0], DIM)
        told = []

        class Watcher:
            def gpu_lost(self):
                told.append(1)

        watcher = Watcher()
        machine.gpus.tell_losses(watcher)
        assert len(form.candidates(query, 5)) == 5
        machine.broken = "CUDA error 700 an illegal memory access was encountered"
        assert form.candidates(query, 5).tolist() == []
        machine.broken = ""
        assert "illegal memory access" in caplog.text
        assert form.is_lost
        # the other GPU's thread may still be about to tell of its own loss
        wait_for(lambda: 1 <= len(told) == 2 - len(machine.gpus.owners(LIMITS)))
        del watcher
        wait_for(lambda: not machine.gpus._watchers)


def test_memory_that_does_not_do_for_all_queries_does_for_halves(machine, clustered):
    vectors = clustered(200, DIM)
    geometry, parts = parts_of("cosine", vectors)
    form = built(machine, parts)
    queries = [geometry.query(vector, DIM) for vector in vectors[:37]]
    whole = form.candidates_of(queries, 9)
    machine.batch_limit = 5
    halved = form.candidates_of(queries, 9)
    assert [one.tolist() for one in whole] == [one.tolist() for one in halved]
    assert not form.is_lost
    machine.batch_limit = 0
    assert all(not len(one) for one in form.candidates_of(queries, 9))
    assert form.is_lost


def test_what_does_not_fit_is_held_shorter_or_not_at_all(monkeypatch, clustered, caplog):
    with machine_with(monkeypatch, 1) as machine:
        _, parts = parts_of("cosine", clustered(1000, DIM))
        limits = GpuLimits(memory_bytes=40_000, room_wait_s=0.01)
        spec = CollectionSpec("a", "", DIM, dimensions=(16, DIM), index="gpu")
        assert machine.gpus.suits(spec, 1000, (DIM, 16), limits)
        assert not machine.gpus.suits(spec, 1000, (DIM,), limits)
        form = built(machine, parts, lengths=(DIM, 16), limits=limits)
        assert form.first == 16
        # a second of the same size: there is no room beside the first
        for _ in range(2):
            assert built(machine, parts, lengths=(DIM, 16), limits=limits) is None
        assert "stays on the CPU" in caplog.text
        assert not machine.gpus.suits(spec, 1000, (DIM, 16), limits)


def test_a_gpu_whose_memory_others_took_refuses_and_keeps_what_it_holds(monkeypatch, clustered):
    with machine_with(monkeypatch, 1, memory_bytes=2 * DIM * 600) as machine:
        geometry, parts = parts_of("cosine", clustered(1000, DIM))
        form = built(machine, parts[:1])
        assert built(machine, parts, before=form) is None
        assert not form.is_lost
        assert len(form.candidates(geometry.query(clustered(1, DIM)[0], DIM), 5)) == 5
        [owner] = machine.gpus.owners(LIMITS)
        assert owner.room.taken_bytes == form.resident_bytes


def test_a_build_tells_its_progress_and_stops_when_told(machine, clustered):
    _, parts = parts_of("cosine", clustered(ROWS, DIM))
    shares = []
    built(machine, parts, tell=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    with pytest.raises(BuildStoppedError):
        built(machine, parts, stopped=lambda: True)


def test_rows_and_queries_beyond_float16_are_told_apart():
    frame = Frame.of("l2", np.array([[1, 2], [3, 4]], np.float32))
    with pytest.raises(UnfitRowsError):
        frame.rows(np.array([[1e6, 0]], np.float32))
    assert frame.query(np.array([1e6, 0])) is None
    assert frame.query(np.array([1.0, 2.0])) is not None
    far = Frame.of("ip", np.array([[1, 2], [3, 4]], np.float32)).query(np.array([1e30, 1.0]))
    assert np.abs(far).max() <= 16


def test_the_hyperbolic_metric_and_small_collections_stay_on_the_cpu(machine):
    gpus, spec = machine.gpus, CollectionSpec("a", "", DIM)
    assert gpus.suits(spec, 200_000, (DIM,), LIMITS)
    assert not gpus.suits(spec, 199_999, (DIM,), LIMITS)
    assert not gpus.suits(spec, 10**9, (DIM,), LIMITS)
    for other in ({"metric": "hyperbolic"}, {"index": "hnsw"}, {"index": "flat"}):
        assert not gpus.suits(CollectionSpec("a", "", DIM, **other), 200_000, (DIM,), LIMITS)


def test_a_machine_without_a_gpu_has_none_and_starts_no_thread():
    gpus = Gpus()
    spec = CollectionSpec("a", "", DIM, index="gpu")
    assert not gpus.suits(spec, 10**6, (DIM,), LIMITS)
    assert not any(one.name.startswith("kokeshi-gpu") for one in threading.enumerate())


def test_differences_that_float16_would_drown_in_their_mean_are_kept(machine, clustered):
    vectors = clustered(1000, DIM) * np.float32(0.05) + np.float32(50)
    geometry, parts = parts_of("l2", vectors)
    form = built(machine, parts, "l2")
    for query in (geometry.query(vector, DIM) for vector in vectors[::100]):
        assert np.isin(expected(geometry, parts, query, 10), form.candidates(query, 20)).all()

"""FAISS with cuVS: GPUs that hold to a filter, and graphs, where they were asked for."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from gpu_stand_in import machine_with
from waiting import wait_for

from kokeshi.errors import OverloadedError
from kokeshi.index import CollectionSpec, EmbeddedStore, SearchParams, Tuning
from kokeshi.index.geometry import Geometry
from kokeshi.index.gpu.faults import is_out_of_memory
from kokeshi.index.gpu.limits import GpuLimits
from kokeshi.index.gpu.room import row_bytes
from kokeshi.index.kernels import Part, nearest, settle

ROWS, DIM = 3000, 32
FLAT = GpuLimits(timeout_s=10.0, room_wait_s=0.05)
GRAPH = GpuLimits(graph_rows=500, timeout_s=10.0, room_wait_s=0.05)


@pytest.fixture(params=[1, 2])
def machine(monkeypatch, request):
    with machine_with(monkeypatch, request.param, has_cuvs=True) as made:
        yield made


@pytest.fixture
def one(monkeypatch):
    """A machine with one GPU."""
    with machine_with(monkeypatch, 1, has_cuvs=True) as made:
        yield made


def parts_of(metric, vectors):
    geometry = Geometry(metric, (DIM,))
    return geometry, [Part(geometry.block(np.arange(len(vectors)), vectors))]


def built(machine, parts, limits, metric="cosine", before=None):
    spec = CollectionSpec("a", "", DIM, metric=metric, index="gpu")
    return machine.gpus.build(
        spec, parts, (DIM,), before, limits, lambda: False, lambda share: None
    )


def expected(geometry, parts, query, k, allowed=None):
    masked = parts
    if allowed is not None:
        masked = [part._replace(allowed=allowed[part.block.rows]) for part in parts]
    [exact] = nearest(geometry, masked, [query], k)
    return settle(geometry, masked, exact, query, k)[0]


def taken(machine):
    return sum(owner.room.taken_bytes for owner in machine.gpus.owners(FLAT))


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("is_deaf", [False, True])
def test_what_a_filter_leaves_is_found_whether_or_not_the_gpu_looks_at_it(
    machine, clustered, metric, is_deaf
):
    machine.is_deaf = is_deaf
    geometry, parts = parts_of(metric, clustered(ROWS, DIM))
    form = built(machine, parts, FLAT, metric)
    allowed = np.random.default_rng(0).random(ROWS) < 0.1
    queries = [geometry.query(vector, DIM) for vector in clustered(9, DIM, seed=3)]
    for query, found in zip(queries, form.candidates_of(queries, 60, None, allowed), strict=True):
        assert allowed[found].all()
        if not is_deaf:
            assert len(found) == 60
            assert np.isin(expected(geometry, parts, query, 10, allowed), found).all()
    # no more is asked for than is wanted
    assert {k for _, _, k in machine.searches} == {60}


def test_a_shard_with_nothing_that_may_be_found_is_not_searched(monkeypatch, clustered):
    with machine_with(monkeypatch, 2, has_cuvs=True) as machine:
        geometry, parts = parts_of("cosine", clustered(ROWS, DIM))
        form = built(machine, parts, FLAT)
        allowed = np.arange(ROWS) >= ROWS - 7
        found = form.candidates(geometry.query(clustered(1, DIM)[0], DIM), 60, None, allowed)
        assert found.tolist() == list(range(ROWS - 7, ROWS))
        assert [(device, k) for device, _, k in machine.searches] == [
            (form.shards[-1].owner.number, 7)
        ]


def test_a_mask_that_leaves_most_rows_is_not_told_so_that_searches_go_together(one, clustered):
    vectors = clustered(500, DIM)
    geometry, parts = parts_of("cosine", vectors)
    form = built(one, parts, FLAT)
    one.hanging = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        asked = []
        for i, vector in enumerate(vectors[:8]):
            allowed = np.arange(500) != 100 + i
            asked.append(
                pool.submit(form.candidates, geometry.query(vector, DIM), 9, None, allowed)
            )
            wait_for(lambda: one.searches)
        wait_for(lambda: form.shards[0].owner._jobs.qsize() == 7)
        one.hanging.set()
        for i, found in enumerate(asked):
            assert i in found.result()
            assert 100 + i not in found.result()
    assert one.selections == []
    assert len(one.searches) == 2


def test_searches_under_different_filters_do_not_go_together(one, clustered):
    vectors = clustered(500, DIM)
    geometry, parts = parts_of("cosine", vectors)
    form = built(one, parts, FLAT)
    one.hanging = threading.Event()
    masks = [np.arange(500) % 8 == i for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        asked = []
        for mask in masks:
            query = geometry.query(vectors[0], DIM)
            asked.append(pool.submit(form.candidates, query, 20, None, mask))
            wait_for(lambda: one.searches)
        wait_for(lambda: form.shards[0].owner._jobs.qsize() == 7)
        one.hanging.set()
        for mask, found in zip(masks, asked, strict=True):
            assert len(found.result()) == 20
            assert mask[found.result()].all()
    assert len(one.searches) == 8


def test_no_graph_is_built_where_none_was_asked_for(machine, clustered):
    _, parts = parts_of("cosine", clustered(ROWS, DIM))
    form = built(machine, parts, FLAT)
    assert GpuLimits().graph_rows == 0
    assert machine.graphs == []
    assert not any(shard.is_graph for shard in form.shards)


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("share", [1.0, 0.7, 0.2])
def test_graphs_find_nearly_what_an_exact_scan_finds(machine, clustered, metric, share):
    vectors = clustered(ROWS, DIM) + np.float32(5)
    geometry, parts = parts_of(metric, vectors)
    form = built(machine, parts, GRAPH, metric)
    assert (form.kind, form.is_exact) == ("gpu", False)
    assert all(shard.is_graph for shard in form.shards)
    assert sum(machine.graphs) == ROWS
    allowed = None if share == 1.0 else np.random.default_rng(0).random(ROWS) < share
    queries = [geometry.query(vector, DIM) for vector in vectors[::100]]
    agreed = 0
    for query, found in zip(queries, form.candidates_of(queries, 60, None, allowed), strict=True):
        assert allowed is None or allowed[found].all()
        agreed += np.isin(expected(geometry, parts, query, 10, allowed), found).sum()
    assert agreed >= 0.9 * 10 * len(queries)
    assert bool(machine.selections) == (share < 0.5)


def test_inner_products_and_few_rows_are_compared_one_by_one(machine, clustered):
    _, parts = parts_of("ip", clustered(ROWS, DIM))
    assert not any(shard.is_graph for shard in built(machine, parts, GRAPH, "ip").shards)
    _, few = parts_of("cosine", clustered(400, DIM))
    assert not any(shard.is_graph for shard in built(machine, few, GRAPH).shards)
    # a row has fewer others than links
    _, fewer = parts_of("cosine", clustered(100, DIM))
    assert not any(
        shard.is_graph for shard in built(machine, fewer, GpuLimits(graph_rows=1)).shards
    )
    assert machine.graphs == []


def test_rows_that_come_later_are_searched_beside_the_graphs(machine, clustered):
    vectors = clustered(ROWS, DIM)
    geometry, parts = parts_of("cosine", vectors)
    _, first = parts_of("cosine", vectors[: ROWS - 100])
    form = built(machine, parts, GRAPH, before=built(machine, first, GRAPH))
    assert {shard.is_graph for shard in form.shards} == {True, False}
    queries = [geometry.query(vector, DIM) for vector in vectors[-200:]]
    found = form.candidates_of(queries, 60)
    agreed = sum(
        np.isin(expected(geometry, parts, query, 10), one).sum()
        for query, one in zip(queries, found, strict=True)
    )
    assert agreed >= 0.9 * 10 * len(queries)


def test_a_walk_keeps_what_was_asked_for_in_the_steps_of_cuvs(one, clustered):
    geometry, parts = parts_of("cosine", clustered(ROWS, DIM))
    form = built(one, parts, GRAPH)
    query = geometry.query(clustered(1, DIM)[0], DIM)
    one.walks.clear()
    for width, breadth, kept in ((60, None, 64), (60, 200, 224), (300, 64, 320)):
        form.candidates(query, width, breadth)
        assert one.walks.pop() == kept


def test_no_more_is_asked_of_a_graph_than_cuvs_can(machine, clustered):
    geometry, parts = parts_of("cosine", clustered(ROWS, DIM))
    form = built(machine, parts, GRAPH)
    query = geometry.query(clustered(1, DIM)[0], DIM)
    found = form.candidates(query, 10_000)
    assert 900 * machine.count < len(found) <= 1024 * machine.count
    assert max(k for _, _, k in machine.searches) == 1024


def test_graphs_are_paid_for_with_their_links(machine, clustered):
    _, parts = parts_of("cosine", clustered(ROWS, DIM))
    assert row_bytes(DIM, is_graph=True) == 2 * DIM + 64 * 4
    assert row_bytes(DIM + 1, is_graph=True) == 2 * DIM + 16 + 64 * 4  # padded
    form = built(machine, parts, GRAPH)
    assert form.resident_bytes == ROWS * (2 * DIM + 64 * 4) == taken(machine)
    assert sum(machine.used_bytes.values()) == form.resident_bytes
    del form
    gc.collect()
    wait_for(lambda: taken(machine) == sum(machine.used_bytes.values()) == 0)


def test_rows_that_fit_but_not_with_their_links_are_not_sent(one):
    spec = CollectionSpec("a", "", DIM, index="gpu")
    memory = ROWS * (2 * DIM + 4 + 100)
    tight = GpuLimits(graph_rows=500, memory_bytes=memory)
    assert not one.gpus.suits(spec, ROWS, (DIM,), tight)
    assert one.gpus.suits(
        CollectionSpec("a", "", DIM, index="gpu", metric="ip"), ROWS, (DIM,), tight
    )


@pytest.mark.parametrize("failure", ["logic error", "std::bad_alloc: out_of_memory", None])
def test_where_no_graph_can_be_built_the_rows_are_compared_with_one_warning(
    one, clustered, caplog, failure
):
    one.no_graphs, one.are_graphs_empty = failure or "", failure is None
    vectors = clustered(ROWS, DIM)
    geometry, parts = parts_of("cosine", vectors)
    shard_bytes = 1000 * row_bytes(DIM, is_graph=True)
    form = built(one, parts, GpuLimits(graph_rows=500, shard_bytes=shard_bytes))
    assert len(form.shards) > 2
    assert not any(shard.is_graph for shard in form.shards)
    assert taken(one) == form.resident_bytes == ROWS * (2 * DIM + 4)
    query = geometry.query(vectors[7], DIM)
    assert np.isin(expected(geometry, parts, query, 10), form.candidates(query, 60)).all()
    assert caplog.text.count("builds no graphs until the next start") == 1
    assert not form.is_lost


def test_memory_that_cuvs_lacks_is_told_by_its_words():
    assert is_out_of_memory(RuntimeError("std::bad_alloc: out_of_memory: CUDA error"))
    assert is_out_of_memory(MemoryError("std::bad_alloc"))
    assert not is_out_of_memory(RuntimeError("CUDA error 700"))


def test_a_gpu_that_fails_at_a_walk_is_given_up(one, clustered, caplog):
    geometry, parts = parts_of("cosine", clustered(ROWS, DIM))
    form = built(one, parts, GRAPH)
    query = geometry.query(clustered(1, DIM)[0], DIM)
    one.broken = "CUDA error 700 an illegal memory access was encountered"
    assert form.candidates(query, 5).tolist() == []
    assert form.is_lost
    assert "illegal memory access" in caplog.text


def test_a_gpu_that_builds_a_graph_is_busy_and_not_hanging(one, clustered):
    limits = GpuLimits(graph_rows=1000, timeout_s=0.3, room_wait_s=0.05)
    vectors = clustered(ROWS, DIM)
    geometry, first = parts_of("cosine", vectors[:500])
    form = built(one, first, limits)
    _, parts = parts_of("cosine", vectors)
    one.building = threading.Event()
    query = geometry.query(vectors[0], DIM)
    with ThreadPoolExecutor(1) as pool:
        larger = pool.submit(built, one, parts, limits, "cosine", form)
        owner = form.shards[0].owner
        wait_for(lambda: owner._begun_s is not None)
        with pytest.raises(OverloadedError, match="expected its turn"):
            form.candidates(query, 5)
        one.building.set()
        assert larger.result().size == ROWS
    assert not owner.lost
    assert len(form.candidates(query, 5)) == 5


@pytest.mark.parametrize("failure", ["", "CUDA error 719 unspecified launch failure"])
def test_a_collection_is_answered_by_graphs_and_without_them(
    machine, tmp_path, clustered, fill, failure
):
    vectors = clustered(ROWS, DIM)
    tuning = Tuning(
        segment_rows=1000, tail_rows=200, gather_rows=5, gather_share=0.0,
        gpu=GpuLimits(rows=1000, graph_rows=500, timeout_s=5.0, room_wait_s=0.05),
    )  # fmt: skip
    with EmbeddedStore(tmp_path, tuning) as store:
        store.create(CollectionSpec("a", "0123456789abcdef", DIM))
        fill(store, "a", vectors)
        assert store.wait_idle()
        assert store.describe("a").kind == "gpu"
        assert len(machine.graphs) >= machine.count
        machine.broken = failure
        queries, agreed = clustered(30, DIM, seed=4), 0
        found, exact = (
            store.search("a", queries, SearchParams(10, exact=is_exact), space="0123456789abcdef")
            for is_exact in (False, True)
        )
        for one, other in zip(found.hits, exact.hits, strict=True):
            assert len(one) == 10
            agreed += len({hit.id for hit in one} & {hit.id for hit in other})
        assert agreed >= 0.9 * 10 * len(queries)
        machine.broken = ""

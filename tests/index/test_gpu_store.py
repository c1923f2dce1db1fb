"""Collections on GPUs: chosen where they suit, kept up to date, left when the GPU is lost."""

import numpy as np
import pytest
from gpu_stand_in import machine_with
from waiting import wait_for

from kokeshi.index import CollectionSpec, EmbeddedStore, Item, SearchParams, Tuning
from kokeshi.index.filters import Range
from kokeshi.index.gpu.limits import GpuLimits

SPACE = "0123456789abcdef"
ROWS, DIM = 2000, 16


def tuned(**gpu):
    limits = GpuLimits(**{"rows": 1000, "timeout_s": 2.0, "room_wait_s": 0.05, **gpu})
    return Tuning(
        segment_rows=600, tail_rows=200, codes_rows=300, hnsw_rows=1500, gather_rows=5,
        gather_share=0.0, walk_share=0.0, dead_share=0.3, dead_rows=10, gpu=limits,
    )  # fmt: skip


@pytest.fixture(params=[1, 2])
def machine(monkeypatch, request):
    with machine_with(monkeypatch, request.param) as made:
        yield made


def opened(tmp_path, fill, vectors, index="auto", **gpu):
    store = EmbeddedStore(tmp_path, tuned(**gpu))
    if "a" not in [info.spec.name for info in store.collections()]:
        store.create(CollectionSpec("a", SPACE, DIM, dimensions=(8, DIM), index=index))
        fill(store, "a", vectors)
    assert store.wait_idle()
    return store


def items_from(vectors, first):
    return [
        Item(f"id{first + i}", vector, {"number": first + i}) for i, vector in enumerate(vectors)
    ]


def numbers(store, query, **params):
    hits = store.search("a", query[None], SearchParams(**params), space=SPACE).hits[0]
    return [hit.metadata["number"] for hit in hits]


def test_a_large_collection_is_searched_on_the_gpu_as_on_the_cpu(
    machine, tmp_path, clustered, fill
):
    vectors = clustered(ROWS, DIM)
    with opened(tmp_path, fill, vectors) as store:
        assert store.describe("a").kind == "gpu"
        store.delete("a", [f"id{i}" for i in range(0, ROWS, 9)])
        queries = clustered(30, DIM, seed=4)
        for params in ({}, {"filter": Range("number", below=900)}, {"threshold": 0.5}):
            found, exact = (
                store.search("a", queries, SearchParams(20, exact=exact, **params), space=SPACE)
                for exact in (False, True)
            )
            assert found.route.kind == "gpu"
            assert not found.is_exact
            for one, other in zip(found.hits, exact.hits, strict=True):
                assert [(hit.id, hit.score) for hit in one] == [
                    (hit.id, hit.score) for hit in other
                ]
        assert {device for device, _, _ in machine.searches} == set(range(machine.count))


def test_a_search_of_many_queries_is_one_call_for_each_shard(machine, tmp_path, clustered, fill):
    with opened(tmp_path, fill, clustered(ROWS, DIM)) as store:
        shards = store._collections["a"].snapshot.form.shards
        machine.searches.clear()
        store.search("a", clustered(50, DIM), SearchParams(5), space=SPACE)
        assert [queries for _, queries, _ in machine.searches] == [50] * len(shards)


def test_too_few_left_by_a_filter_are_found_by_the_cpu(machine, tmp_path, clustered, fill):
    vectors = clustered(ROWS, DIM)
    with opened(tmp_path, fill, vectors) as store:
        # k beyond what FAISS can answer
        assert len(numbers(store, vectors[0], k=5000 // machine.count)) == min(
            ROWS, 5000 // machine.count
        )
        fitting = numbers(store, vectors[0], k=20, filter=Range("number", least=ROWS - 12))
        assert set(fitting) == set(range(ROWS - 12, ROWS))


def test_new_rows_are_found_beside_the_form_and_then_in_it(machine, tmp_path, clustered, fill):
    with opened(tmp_path, fill, clustered(ROWS, DIM)) as store:
        used = sum(machine.used_bytes.values())
        vectors = clustered(ROWS + 1000, DIM, seed=8)
        from_there = vectors[ROWS:]
        for start in range(0, 1000, 250):
            batch = from_there[start : start + 250]
            store.upsert("a", items_from(batch, ROWS + start), space=SPACE)
            assert numbers(store, batch[-1], k=1) == [ROWS + start + 249]
        assert store.wait_idle()
        assert store.describe("a").tail <= 450
        assert numbers(store, from_there[0], k=1) == [ROWS]
        # shards are shared, not copied
        assert sum(machine.used_bytes.values()) <= used * 1.5


def test_compaction_sends_the_rows_anew_and_frees_the_old(machine, tmp_path, clustered, fill):
    vectors = clustered(ROWS, DIM)
    with opened(tmp_path, fill, vectors) as store:
        used = sum(machine.used_bytes.values())
        store.delete("a", [f"id{i}" for i in range(ROWS) if i % 5 < 2])
        store.upsert("a", items_from(clustered(1, DIM, seed=2), ROWS), space=SPACE)
        assert store.wait_idle()
        info = store.describe("a")
        assert (info.kind, info.dead) == ("gpu", 0)
        numbers(store, vectors[2], k=1)
        wait_for(lambda: sum(machine.used_bytes.values()) < 0.7 * used)
        assert numbers(store, vectors[2], k=1) == [2]


def test_compaction_without_room_for_both_goes_by_the_cpu_meanwhile(
    machine, tmp_path, clustered, fill
):
    vectors = clustered(ROWS, DIM)
    memory = ROWS * (2 * DIM + 4) // machine.count
    with opened(tmp_path, fill, vectors, memory_bytes=int(memory * 1.05)) as store:
        assert store.describe("a").kind == "gpu"
        store.delete("a", [f"id{i}" for i in range(ROWS) if i % 5 < 2])
        store.upsert("a", items_from(clustered(1, DIM, seed=2), ROWS), space=SPACE)
        assert store.wait_idle()
        assert (store.describe("a").kind, store.describe("a").dead) == ("gpu", 0)
        assert numbers(store, vectors[2], k=1) == [2]


def test_a_start_sends_the_rows_again(machine, tmp_path, clustered, fill):
    vectors = clustered(ROWS, DIM)
    opened(tmp_path, fill, vectors).close()
    with opened(tmp_path, fill, vectors) as store:
        assert store.describe("a").kind == "gpu"
        assert store.stats().cache_rejections == 0
        assert numbers(store, vectors[7], k=1) == [7]


@pytest.mark.parametrize("index", ["auto", "gpu"])
def test_without_a_gpu_the_cpu_has_its_form(tmp_path, clustered, fill, index):
    vectors = clustered(ROWS, DIM)
    with opened(tmp_path, fill, vectors, index) as store:
        assert store.describe("a").kind == "hnsw"
        assert numbers(store, vectors[7], k=1) == [7]


def test_what_does_not_fit_is_left_to_the_cpu_and_said(
    monkeypatch, tmp_path, clustered, fill, caplog
):
    with machine_with(monkeypatch, 1, memory_bytes=1000) as machine:
        vectors = clustered(ROWS, DIM)
        with opened(tmp_path, fill, vectors) as store:
            assert store.describe("a").kind == "hnsw"
            assert "stays on the CPU" in caplog.text
            assert numbers(store, vectors[7], k=1) == [7]
        assert machine.used_bytes[0] == 0


@pytest.mark.parametrize("index", ["auto", "gpu"])
def test_a_lost_gpu_hands_over_without_an_error_to_a_search(
    monkeypatch, tmp_path, clustered, fill, caplog, index
):
    with machine_with(monkeypatch, 1) as machine:
        vectors = clustered(ROWS, DIM)
        with opened(tmp_path, fill, vectors, index) as store:
            machine.broken = "CUDA error 719 unspecified launch failure"
            assert numbers(store, vectors[7], k=3)[0] == 7
            assert "is given up" in caplog.text
            assert store.describe("a").kind in {"codes", "hnsw"}
            assert numbers(store, vectors[8], k=3)[0] == 8
            assert store.wait_idle()
            assert store.describe("a").kind == "hnsw"
            assert store.stats().is_writable
            assert len(machine.searches) == 1
            np.testing.assert_array_equal(numbers(store, vectors[9], k=1), [9])


def test_one_lost_gpu_of_two_leaves_the_collection_to_the_other(
    monkeypatch, tmp_path, clustered, fill
):
    with machine_with(monkeypatch, 2) as machine:
        vectors = clustered(ROWS, DIM)
        with opened(tmp_path, fill, vectors) as store:
            first, second = machine.gpus.owners(GpuLimits())
            first.lose("of this test")
            assert store.wait_idle()
            form = store._collections["a"].snapshot.form
            assert {shard.owner for shard in form.shards} == {second}
            assert numbers(store, vectors[7], k=1) == [7]

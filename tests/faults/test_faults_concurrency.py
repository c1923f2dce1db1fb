"""Readers, writers and the compactor at once, with vectors that say whether they are whole."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from faultkit.oracle import check, cosine, origin_of
from faultkit.work import DIM, NAME, SPACE, TENANTS, item_of, small_tuning, spec

from kokeshi.errors import UnavailableError
from kokeshi.index import EmbeddedStore, SearchParams

FAMILY = "10 readers, writers and the compactor together"
WRITERS = 3  # one for each tenant, so that each knows all of its own acknowledged writes
MINE = 80


class Tenant:
    """What one writer was acknowledged: `floor` is (version, seq) per id, version -1 is deleted."""

    def __init__(self, name):
        self.name = name
        self.floor = {}

    def write(self, store, version, rng):
        ids = [f"id{i}" for i in rng.choice(MINE, 12, replace=False)]
        if version % 4 == 3:
            seq = store.delete(NAME, ids, tenant=self.name).seq
            self.floor.update((item_id, (-1, seq)) for item_id in ids)
            return
        items = [item_of(number_of(self.name), version, int(i[2:]), i) for i in ids]
        seq = store.upsert(NAME, items, space=SPACE, tenant=self.name).seq
        self.floor.update((item_id, (version, seq)) for item_id in ids)

    def state(self):
        return {
            (self.name, item_id): (number_of(self.name), version, int(item_id[2:]))
            for item_id, (version, _) in self.floor.items()
            if version >= 0
        }


def number_of(name):
    return 1000 + TENANTS.index(name)


def look(store, tenant, rng, index):
    """One search; it must see what was acknowledged before it began, whole and its own."""
    floor = dict(tenant.floor)
    seen_before = max((seq for _, seq in floor.values()), default=0)
    query = rng.standard_normal(DIM, dtype=np.float32)
    params = SearchParams(
        k=15, with_vectors=True, tenant=tenant.name, exact=index == "flat", min_seq=seen_before
    )
    found = store.search(NAME, query[None], params, space=SPACE)
    assert found.seq >= seen_before
    hits = found.hits[0]
    assert len({hit.id for hit in hits}) == len(hits)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    for hit in hits:
        seed, version, position = origin_of(hit)
        assert (seed, f"id{position}") == (number_of(tenant.name), hit.id), "of another tenant"
        known, seq = floor.get(hit.id, (0, 0))
        assert version >= known or found.seq > seq, "older than what was acknowledged"
        assert known >= 0 or version > last_before(floor, hit.id), "deleted, and found"
        assert abs(hit.score - cosine(hit.vector, query)) < 1e-5


def last_before(floor, item_id):
    """Versions of a tenant ascend: after its delete, only a later write may show an id."""
    return max(
        (version for other, (version, seq) in floor.items() if seq < floor[item_id][1]), default=-1
    )


@pytest.mark.parametrize("index", ["flat", "auto", "hnsw"])
def test_searches_are_whole_and_monotonic_under_writes_and_rebuilds(
    tmp_path, seed, rounds, tally, index
):
    tenants = [Tenant(name) for name in TENANTS]
    stop = threading.Event()
    writes, looks, wanted = [0] * WRITERS, [0] * WRITERS, rounds(20, 3000)
    with EmbeddedStore(tmp_path, small_tuning()) as store:
        store.create(spec(index=index, durability="os"))

        def write(number):
            rng = np.random.default_rng([seed, number])
            while not stop.is_set():
                tenants[number].write(store, writes[number], rng)
                writes[number] += 1

        def read(number):
            rng = np.random.default_rng([seed, 100 + number])
            seqs = [0]
            while not stop.is_set():
                look(store, tenants[number], rng, index)
                seqs.append(store.describe(NAME).seq)
                assert seqs[-1] >= seqs[-2], "went back in time"
                looks[number] += 1

        with ThreadPoolExecutor(2 * WRITERS) as pool:
            running = [pool.submit(work, n) for n in range(WRITERS) for work in (write, read)]
            while min(*writes, *looks) < wanted and not any(one.done() for one in running):
                time.sleep(0.01)
            stop.set()
            for one in running:
                one.result()
        expected = {key: origin for one in tenants for key, origin in one.state().items()}
        assert store.wait_idle()
        check(store, [expected], note=f"seed {seed}")
        assert store.stats().index_builds > 0
    with EmbeddedStore(tmp_path, small_tuning()) as store:
        check(store, [expected], note=f"seed {seed}, reopened")
    tally(operations=sum(writes), searches=sum(looks))


def test_closing_under_load_loses_nothing_acknowledged(tmp_path, seed):
    store = EmbeddedStore(tmp_path, small_tuning())
    store.create(spec())
    tenants = [Tenant(name) for name in TENANTS]

    def write(number):
        rng = np.random.default_rng([seed, number])
        for version in range(10**6):
            try:
                tenants[number].write(store, version, rng)
            except UnavailableError:
                return

    with ThreadPoolExecutor(WRITERS) as pool:
        running = [pool.submit(write, number) for number in range(WRITERS)]
        while not all(len(one.floor) > 30 for one in tenants):
            time.sleep(0.01)
        store.close()
        for one in running:
            one.result()
    expected = {key: origin for one in tenants for key, origin in one.state().items()}
    assert expected
    with EmbeddedStore(tmp_path, small_tuning()) as reopened:
        check(reopened, [expected])

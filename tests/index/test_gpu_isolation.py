"""No answer breaks filter, tenant or delete, whatever form answers, one on a deaf GPU included."""

import numpy as np
import pytest
from gpu_stand_in import machine_with

from kokeshi.index import CollectionSpec, EmbeddedStore, Item, SearchParams, Tuning
from kokeshi.index.filters import And, Equals, Exists, In, Not, Or, Range
from kokeshi.index.gpu.limits import GpuLimits

SPACE = "0123456789abcdef"
KINDS = ("flat", "codes", "hnsw", "ivf", "panorama", "gpu", "gpu-cuvs")
TENANTS = ("", "ann", "bob")
DIM, IDS, GROUPS, ROUNDS, SEED = 8, 200, 5, 300, 11
TUNING = Tuning(
    segment_rows=80, tail_rows=20, codes_rows=30, dead_rows=40, gather_rows=3, gather_share=0.0,
    walk_share=0.0, shortlist_rows=5, shortlist_per_k=2, ef_search=5, ef_prefix=5,
    gpu=GpuLimits(graph_rows=1, timeout_s=5.0, room_wait_s=0.05),
)  # fmt: skip


def a_filter(rng, depth=2):
    """(filter, what it says of metadata)."""
    if depth and rng.random() < 0.5:
        one, says = a_filter(rng, depth - 1)
        other, says_too = a_filter(rng, depth - 1)
        return [
            (And((one, other)), lambda m: says(m) and says_too(m)),
            (Or((one, other)), lambda m: says(m) or says_too(m)),
            (Not(one), lambda m: not says(m)),
        ][int(rng.integers(3))]
    group = int(rng.integers(GROUPS))
    return [
        (Equals("group", group), lambda m: m["group"] == group),
        (In("group", (group, 0)), lambda m: m["group"] in {group, 0}),
        (Range("round", least=50), lambda m: m["round"] >= 50),
        (Exists("odd"), lambda m: "odd" in m),
        (Exists("absent"), lambda m: False),
    ][int(rng.integers(5))]


def write(store, rng, state, tenant, number):
    """Replaces some items of a tenant, or deletes some, by id or by filter."""
    ids = [f"id{i}" for i in rng.choice(IDS, int(rng.integers(1, 30)), replace=False)]
    kind = rng.random()
    if kind < 0.7:
        items = []
        for one in ids:
            metadata = {"group": int(rng.integers(GROUPS)), "round": number}
            metadata |= {"odd": True} if rng.random() < 0.5 else {}
            items.append(Item(one, rng.standard_normal(DIM, dtype=np.float32), metadata))
            state[tenant, one] = metadata
        store.upsert("a", items, space=SPACE, tenant=tenant)
    elif kind < 0.9:
        store.delete("a", ids, tenant=tenant)
        for one in ids:
            state.pop((tenant, one), None)
    else:
        chosen, says = a_filter(rng)
        store.delete("a", filter=chosen, tenant=tenant)
        for key in [key for key, m in state.items() if key[0] == tenant and says(m)]:
            del state[key]


def ask(store, rng, state, tenant):
    """What fits is found, k where k exist, and nothing else."""
    chosen, says = a_filter(rng) if rng.random() < 0.8 else (None, lambda m: True)
    fitting = {key[1]: m for key, m in state.items() if key[0] == tenant and says(m)}
    params = SearchParams(
        k=int(rng.integers(1, 40)),
        tenant=tenant,
        filter=chosen,
        dimension=[None, 4, DIM][int(rng.integers(3))],
        rerank=bool(rng.integers(2)),
    )
    found = store.search("a", rng.standard_normal((3, DIM), dtype=np.float32), params, space=SPACE)
    for hits in found.hits:
        assert {hit.id: hit.metadata for hit in hits}.items() <= fitting.items()
        assert len({hit.id for hit in hits}) == len(hits) == min(params.k, len(fitting))
    return found.route.kind


@pytest.mark.parametrize("kind", KINDS)
def test_no_answer_breaks_filter_tenant_or_delete(monkeypatch, tmp_path, kind):
    rng, state, routes = np.random.default_rng([SEED, KINDS.index(kind)]), {}, []
    index, _, library = kind.partition("-")
    with (
        machine_with(monkeypatch, 2, has_cuvs=bool(library)) as machine,
        EmbeddedStore(tmp_path, TUNING) as store,
    ):
        store.create(
            CollectionSpec("a", SPACE, DIM, dimensions=(4, DIM), index=index, durability="os")
        )
        for number in range(ROUNDS):
            tenant = TENANTS[int(rng.integers(len(TENANTS)))]
            if number < 10 or number % 6 == 0:
                write(store, rng, state, tenant, number)
            if number % 50 == 10:
                assert store.wait_idle()
            routes.append(ask(store, rng, state, tenant))
    # what is tested did answer
    assert routes.count(index) > ROUNDS / 10
    if library:
        assert machine.graphs
        assert machine.selections

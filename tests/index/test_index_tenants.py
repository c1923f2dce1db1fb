"""Tenants: each sees its own items and no other's, by every call and every kind of index."""

import itertools

import numpy as np
import pytest

from kokeshi.errors import InvalidRequestError, ItemNotFoundError
from kokeshi.index import CollectionSpec, EmbeddedStore, Item, SearchParams, Tuning
from kokeshi.index.filters import And, Equals, Exists, Not, Or
from kokeshi.index.tenants import _COUNTS

SPACE = "0123456789abcdef"
TENANTS = ("", "ann", "bob")
TUNING = Tuning(
    tail_rows=100,
    segment_rows=250,
    codes_rows=300,
    gather_rows=20,
    gather_share=0.0,
    walk_share=0,
    ef_search=64,
)


def owned(tenant, vectors):
    return [
        Item(f"id{i}", vector, {"owner": tenant, "even": i % 2 == 0})
        for i, vector in enumerate(vectors)
    ]


@pytest.fixture(params=["flat", "codes", "hnsw", "ivf", "panorama"])
def shared(tmp_path, clustered, request):
    """A collection in which each tenant has the same ids, and every vector has two twins."""
    with EmbeddedStore(tmp_path, TUNING) as store:
        store.create(CollectionSpec("a", SPACE, 16, dimensions=(8, 16), index=request.param))
        vectors = clustered(300, 16)
        for tenant in TENANTS:
            store.upsert("a", owned(tenant, vectors), space=SPACE, tenant=tenant)
        assert store.wait_idle()
        assert store.describe("a").kind == request.param
        yield store


def search(store, queries, **params):
    return store.search("a", queries, SearchParams(**params), space=SPACE).hits


@pytest.mark.parametrize("exact", [False, True])
def test_a_search_finds_the_tenants_own_items_alone(shared, clustered, exact):
    queries = clustered(10, 16, seed=5)
    for tenant in TENANTS:
        for hits in search(shared, queries, k=40, tenant=tenant, exact=exact):
            assert len(hits) == 40
            assert {hit.metadata["owner"] for hit in hits} == {tenant}
            assert len({hit.id for hit in hits}) == 40
    assert search(shared, queries, k=5, tenant="nobody") == ((),) * 10


def test_k_beyond_what_a_tenant_has_finds_all_of_it(shared, clustered):
    hits = search(shared, clustered(1, 16), k=900, tenant="bob")[0]
    assert {hit.id for hit in hits} == {f"id{i}" for i in range(300)}


def test_a_search_of_a_tenant_with_a_filter_fits_both(shared, clustered):
    for hits in search(
        shared, clustered(5, 16), k=30, tenant="ann", filter=Equals("even", value=True)
    ):
        assert len(hits) == 30
        assert all(hit.metadata == {"owner": "ann", "even": True} for hit in hits)


def test_an_upsert_replaces_the_tenants_own_item(shared, clustered):
    moved = clustered(1, 16, seed=9)[0]
    shared.upsert("a", [Item("id7", moved, {"owner": "bob"})], space=SPACE, tenant="bob")
    assert shared.describe("a").count == 900
    for tenant in TENANTS:
        [item] = shared.get("a", ["id7"], with_vectors=True, tenant=tenant)
        assert item.metadata["owner"] == tenant
        assert np.array_equal(item.vector, moved) == (tenant == "bob")


@pytest.mark.parametrize("wanted", [And(()), Or((And(()),)), Not(Or(()))], ids=str)
def test_a_filter_without_a_condition_deletes_a_named_tenant_only(faces, items, clustered, wanted):
    for tenant in ("", "ann"):
        faces.upsert("faces", items(clustered(5, 16)), space=SPACE, tenant=tenant)
    with pytest.raises(InvalidRequestError, match="drop the collection"):
        faces.delete("faces", filter=wanted)
    assert faces.delete("faces", filter=wanted, tenant="ann").count == 5
    assert (faces.count("faces"), faces.count("faces", tenant="ann")) == (5, 0)


def test_a_delete_leaves_the_others_alone(shared, clustered):
    assert shared.delete("a", ["id1", "id2"], tenant="ann").count == 2
    assert shared.delete("a", filter=Equals("even", value=True), tenant="bob").count == 150
    assert [shared.count("a", tenant=tenant) for tenant in TENANTS] == [300, 298, 150]
    with pytest.raises(ItemNotFoundError):
        shared.get("a", ["id1"], tenant="ann")
    assert shared.get("a", ["id1"], tenant="")[0].metadata["owner"] == ""
    everything = [search(shared, clustered(1, 16), k=900, tenant=tenant)[0] for tenant in TENANTS]
    assert [len(hits) for hits in everything] == [300, 298, 150]
    assert not any(hit.metadata["even"] for hit in everything[2])


def test_a_scroll_and_a_count_see_the_tenants_own_items(shared):
    for tenant, wanted in itertools.product(TENANTS, (None, Exists("owner"))):
        seen, cursor = [], None
        while True:
            page = shared.scroll("a", cursor=cursor, limit=70, tenant=tenant, filter=wanted)
            seen += page.items
            cursor = page.cursor
            if cursor is None:
                break
        assert [item.id for item in seen] == [f"id{i}" for i in range(300)]
        assert {item.metadata["owner"] for item in seen} == {tenant}
        assert shared.count("a", tenant=tenant, filter=wanted) == 300
    assert shared.describe("a").tenants == 3


def test_tenants_are_listed_without_a_walk_over_the_rows(shared):
    assert list(shared.tenants("a").items()) == [("", 300), ("ann", 300), ("bob", 300)]
    with shared._truth.reading() as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {_COUNTS}", (1, 10)).fetchall()
    steps = " ".join(step[-1] for step in plan)
    assert steps.count("items_by_tenant") == 2
    assert "SCAN items" not in steps
    assert "TEMP B-TREE" not in steps


def test_tenants_are_kept_apart_after_a_restart(tmp_path, clustered):
    vectors = clustered(300, 16)
    with EmbeddedStore(tmp_path, TUNING) as store:
        store.create(CollectionSpec("a", SPACE, 16))
        for tenant in TENANTS:
            store.upsert("a", owned(tenant, vectors), space=SPACE, tenant=tenant)
        assert store.wait_idle()
    with EmbeddedStore(tmp_path, TUNING) as store:
        assert store.describe("a").mapped_bytes > 0
        for tenant in TENANTS:
            hits = search(store, vectors[:1], k=900, tenant=tenant)[0]
            assert {hit.metadata["owner"] for hit in hits} == {tenant}
            assert len(hits) == 300


def test_a_request_id_belongs_to_its_tenant(faces, clustered):
    one = [Item("a", clustered(1, 16)[0])]
    first = faces.upsert("faces", one, space=SPACE, request_id="r", tenant="ann")
    second = faces.upsert("faces", one, space=SPACE, request_id="r", tenant="bob")
    assert (first.seq, second.seq) == (1, 2)
    assert faces.upsert("faces", one, space=SPACE, request_id="r", tenant="ann") == first


@pytest.mark.parametrize("tenant", ["x" * 257, "a\x00", "\ud800"])
def test_a_tenant_that_cannot_be_stored_is_refused(faces, tenant):
    for call in (
        lambda: faces.upsert("faces", [Item("a", np.ones(16))], space=SPACE, tenant=tenant),
        lambda: faces.delete("faces", ["a"], tenant=tenant),
        lambda: faces.get("faces", ["a"], tenant=tenant),
        lambda: faces.scroll("faces", tenant=tenant),
        lambda: faces.count("faces", tenant=tenant),
        lambda: faces.search("faces", np.ones((1, 16)), SearchParams(tenant=tenant), space=SPACE),
    ):
        with pytest.raises(InvalidRequestError, match="tenant"):
            call()


def test_only_tenants_that_have_items_are_counted(tmp_path, clustered):
    vectors = clustered(300, 16)
    with EmbeddedStore(tmp_path, TUNING) as store:
        store.create(CollectionSpec("a", SPACE, 16))
        assert store.describe("a").tenants == 0
        for count, tenant in enumerate(TENANTS, 1):
            store.upsert("a", owned(tenant, vectors[: 100 * count]), space=SPACE, tenant=tenant)
            assert store.describe("a").tenants == count
        store.upsert("a", owned("cid", vectors[:2]), space=SPACE, tenant="cid")
        for tenant, left in (("bob", 3), ("cid", 2), ("", 1), ("ann", 0)):
            store.delete("a", filter=Exists("owner"), tenant=tenant)
            assert store.describe("a").tenants == len(store.tenants("a")) == left

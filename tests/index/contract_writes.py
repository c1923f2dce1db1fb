"""Collections, writes, reads by id and by page: what every store has to keep."""

import dataclasses
import datetime

import numpy as np
import pytest
from contract import DIM, OTHER_SPACE, SPACE, ids, items_of, one, same, vectors_of

from kokeshi.errors import (
    AlreadyExistsError,
    CollectionNotFoundError,
    InvalidRequestError,
    ItemNotFoundError,
    SpaceMismatchError,
    UnavailableError,
    UnimplementedError,
)
from kokeshi.index import CollectionSpec, Item, SearchParams
from kokeshi.index.filters import Equals, Range

JSON_VALUES = [
    {},
    {"a": 1},
    {"a": 1.0},
    {"a": True},
    {"a": None},
    {"a": ""},
    {"": {"": 0}},
    {"a.b": 1, "$meta": 2, 'c"d': 3, "e\\f": 4},
    {"text": "é \u2028 \U0001f38e \" ' \\ \t\n %s {} <b>"},
    {"list": [1, "1", None, [2, {"x": [False]}], {}]},
    {"large": 2**53 + 1, "larger": 2**63 - 1, "negative": -(2**63)},
    {"small": 5e-324, "zero": -0.0, "pi": 3.141592653589793},
    {"deep": {"deep": {"deep": {"deep": [1]}}}},
]
HOSTILE_IDS = [
    "a b", "'", '"', "\\", "\\\"", '" or 1 == 1 or "', "%", "_", "a/../b", "né", "e\u0301",
    "\u202eabc", "\U0001f38e", "0", "00", "None", "x" * 256, "\U0001f38e" * 256, " ", "--", ";",
]  # fmt: skip
BAD_IDS = ["", "x" * 257, "x" * 1_000_000, "a\x00b", "a\nb", "\x7f", "\ud800", 7, None, b"a"]


def test_a_collection_is_made_described_listed_and_dropped(subject):
    store = subject.store
    spec = subject.spec()
    made = store.create(spec)
    assert made.spec == spec
    assert (made.count, made.quarantine) == (0, None)
    assert made.kind in {"flat", "codes", "hnsw", "ivf", "panorama"}
    assert spec.name in [info.spec.name for info in store.collections()]
    assert store.describe(spec.name).spec == spec
    store.drop(spec.name)
    assert spec.name not in [info.spec.name for info in store.collections()]
    with pytest.raises(CollectionNotFoundError):
        store.describe(spec.name)


def test_names_are_listed_in_order(subject):
    made = sorted(subject.create() for _ in range(3))
    listed = [info.spec.name for info in subject.store.collections()]
    assert listed == sorted(listed)
    assert set(made) <= set(listed)


def test_names_that_look_alike_are_different_collections(subject):
    names = ["twin-a", "twin_a", "twina"]
    for name in names:
        subject._made.append(name)
        subject.create(name=name)
        subject.put(name, [one(name)])
    for name in names:
        assert [item.id for item in subject.all(name)] == [name]


def test_a_name_is_taken_once(subject):
    name = subject.create()
    with pytest.raises(AlreadyExistsError):
        subject.store.create(subject.spec(name=name))
    subject.put(name, [one()])
    with pytest.raises(AlreadyExistsError):
        subject.store.create(subject.spec(name=name, metric="l2"))
    assert subject.store.count(name) == 1


@pytest.mark.parametrize("name", ["", "A", "a b", "../a", "a" * 65, "é", "a'b", 'a"b', "a;b"])
def test_a_name_that_cannot_be_is_refused(subject, name):
    with pytest.raises(InvalidRequestError):
        subject.store.create(CollectionSpec(name, SPACE, DIM))


@pytest.mark.parametrize(
    "settings",
    [
        {"dim": 0, "dimensions": ()},
        {"dim": 1_000_000, "dimensions": ()},
        {"dimensions": (8, 4, 32)},
        {"dimensions": (4, 8)},
        {"space": "no space"},
        {"metric": "manhattan"},
        {"index": "magic"},
        {"durability": "hope"},
    ],
)
def test_a_collection_that_cannot_be_is_refused(subject, settings):
    with pytest.raises(InvalidRequestError):
        subject.store.create(subject.spec(**settings))


def test_ensure_makes_and_then_finds(subject):
    spec = subject.spec()
    assert subject.store.ensure(spec).count == 0
    subject.put(spec.name, [one()])
    assert subject.store.ensure(spec).count == 1
    # the model's name is informative
    assert subject.store.ensure(dataclasses.replace(spec, model="other")).count == 1


def test_ensure_refuses_another_space_and_other_settings(subject):
    spec = subject.spec()
    subject.store.ensure(spec)
    with pytest.raises(SpaceMismatchError, match=f"{SPACE}.*{OTHER_SPACE}"):
        subject.store.ensure(dataclasses.replace(spec, space=OTHER_SPACE))
    with pytest.raises(AlreadyExistsError):
        subject.store.ensure(dataclasses.replace(spec, dimensions=(16, 32)))


@pytest.mark.parametrize(
    "call",
    [
        lambda store, name: store.describe(name),
        lambda store, name: store.drop(name),
        lambda store, name: store.upsert(name, [one()], space=SPACE),
        lambda store, name: store.delete(name, ["a"]),
        lambda store, name: store.get(name, ["a"]),
        lambda store, name: store.search(name, vectors_of(1), SearchParams(), space=SPACE),
        lambda store, name: store.scroll(name),
        lambda store, name: store.count(name),
    ],
    ids=["describe", "drop", "upsert", "delete", "get", "search", "scroll", "count"],
)
def test_every_call_names_a_collection_that_is_not_there(subject, call):
    with pytest.raises(CollectionNotFoundError, match="absent"):
        call(subject.store, "absent")


def test_a_collection_of_an_old_name_starts_empty(subject):
    name = subject.create()
    subject.put(name, [one()], request_id=None)
    subject.store.drop(name)
    subject.create(name=name, dim=8)
    assert subject.store.count(name) == 0
    assert subject.all(name) == []
    subject.put(name, [one(dim=8)])
    assert ids(subject.search(name, vectors_of(1, 8)[0])) == ["a"]


def test_an_item_comes_back_as_it_was_given(subject):
    name = subject.create()
    vector = vectors_of(1)[0]
    receipt = subject.put(name, [Item("a", vector, {"b": [1]})])
    (item,) = subject.store.get(name, ["a"], with_vectors=True)
    assert (item.id, item.metadata, item.seq) == ("a", {"b": [1]}, receipt.seq)
    assert item.vector.dtype == np.float32
    assert item.vector.tobytes() == vector.tobytes()
    assert subject.store.get(name, ["a"])[0].vector is None


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_vectors_come_back_to_the_last_bit(subject, metric):
    name = subject.create(metric=metric)
    vectors = vectors_of(3)
    vectors[0, :6] = [1, -0.0, 1e-45, -1e-20, 1e6, np.nextafter(1, 2, dtype=np.float32)]
    vectors[1] *= 1e6
    vectors[2] *= 1e-6
    subject.put(name, items_of(vectors))
    for item, vector in zip(
        subject.store.get(name, ["id0", "id1", "id2"], with_vectors=True), vectors, strict=True
    ):
        assert item.vector.tobytes() == vector.tobytes()
    for item, vector in zip(subject.all(name, with_vectors=True), vectors, strict=True):
        assert item.vector.tobytes() == vector.tobytes()


def test_the_callers_array_is_neither_changed_nor_kept(subject):
    name = subject.create()
    vectors = vectors_of(1)
    before = vectors.copy()
    subject.put(name, [Item("a", vectors[0])])
    subject.search(name, vectors[0])
    np.testing.assert_array_equal(vectors, before)
    vectors[:] = 7
    (item,) = subject.store.get(name, ["a"], with_vectors=True)
    np.testing.assert_array_equal(item.vector, before[0])


@pytest.mark.parametrize("metadata", JSON_VALUES, ids=range(len(JSON_VALUES)))
def test_metadata_come_back_as_they_were(subject, metadata):
    name = subject.create(dim=4)
    subject.put(name, [Item("a", vectors_of(1, 4)[0], metadata)])
    assert same(dict(subject.store.get(name, ["a"])[0].metadata), metadata)
    assert same(dict(subject.all(name)[0].metadata), metadata)
    assert same(dict(subject.search(name, vectors_of(1, 4)[0])[0].metadata), metadata)


def test_ids_that_look_like_something_else_are_only_ids(subject):
    name = subject.create(dim=4)
    vectors = vectors_of(len(HOSTILE_IDS), 4)
    subject.put(
        name,
        [Item(item_id, vector) for item_id, vector in zip(HOSTILE_IDS, vectors, strict=True)],
    )
    assert [item.id for item in subject.store.get(name, HOSTILE_IDS)] == HOSTILE_IDS
    assert [item.id for item in subject.all(name)] == HOSTILE_IDS
    for item_id, vector in zip(HOSTILE_IDS, vectors, strict=True):
        (item,) = subject.store.get(name, [item_id], with_vectors=True)
        np.testing.assert_array_equal(item.vector, vector)
        assert subject.store.delete(name, [item_id]).count == 1
    assert subject.store.count(name) == 0


def test_an_item_of_another_models_space_says_so(subject):
    name = subject.create()
    subject.put(name, [Item("a", vectors_of(1)[0], origin=OTHER_SPACE), one("b")])
    assert [item.origin for item in subject.store.get(name, ["a", "b"])] == [OTHER_SPACE, ""]
    assert [item.origin for item in subject.all(name)] == [OTHER_SPACE, ""]


def test_a_later_item_takes_the_place_of_an_earlier_one_whole(subject):
    name = subject.create()
    first = subject.put(name, [one("a", old=1), one("b")])
    second = subject.put(name, [one("a", seed=5, new=2)])
    assert second.seq > first.seq
    (item,) = subject.store.get(name, ["a"], with_vectors=True)
    assert item.metadata == {"new": 2}
    assert item.seq == second.seq
    np.testing.assert_array_equal(item.vector, vectors_of(1, seed=5)[0])
    assert subject.store.count(name) == 2
    assert sorted(item.id for item in subject.all(name)) == ["a", "b"]
    hits = subject.search(name, vectors_of(1, seed=5)[0], exact=True)
    assert sorted(ids(hits)) == ["a", "b"]
    assert hits[0].metadata == {"new": 2}


def test_receipts_count_and_ascend(subject):
    name = subject.create()
    first = subject.put(name, items_of(vectors_of(3)))
    second = subject.store.delete(name, ["id0", "unknown"])
    third = subject.put(name, [one()])
    assert (first.count, second.count, third.count) == (3, 1, 1)
    assert first.seq < second.seq < third.seq
    assert subject.store.describe(name).seq >= third.seq
    if not subject.capabilities.durable:
        assert not first.is_fsynced


def test_add_only_refuses_the_whole_batch_when_one_exists(subject):
    name = subject.create()
    subject.put(name, [one("a", kept=True)])
    with pytest.raises(AlreadyExistsError, match="'a'"):
        subject.put(name, [one("b"), one("a")], add_only=True)
    assert [item.id for item in subject.all(name)] == ["a"]
    assert subject.store.get(name, ["a"])[0].metadata == {"kept": True}
    assert subject.put(name, [one("b")], add_only=True).count == 1


def test_a_batch_is_written_whole_or_not_at_all(subject):
    name = subject.create()
    bad = Item("c", np.full(DIM, np.nan, np.float32))
    with pytest.raises(InvalidRequestError, match="'c'"):
        subject.put(name, [one("a"), one("b"), bad])
    assert subject.store.count(name) == 0


@pytest.mark.parametrize("items", [[], [one("a"), one("b"), one("a", seed=1)]])
def test_an_empty_batch_and_an_id_that_comes_twice_are_refused(subject, items):
    name = subject.create()
    with pytest.raises(InvalidRequestError):
        subject.put(name, items)
    assert subject.store.count(name) == 0


def _or_unimplemented(subject, name):
    if subject.capabilities.request_ids:
        return
    with pytest.raises(UnimplementedError):
        subject.put(name, [one()], request_id="r")
    pytest.skip("declared: no request ids")


def test_a_request_that_comes_twice_is_done_once(subject):
    name = subject.create()
    _or_unimplemented(subject, name)
    first = subject.put(name, [one("a"), one("b")], request_id="r")
    newer = subject.put(name, [one("a", newer=True)])
    assert subject.put(name, [one("a"), one("b")], request_id="r") == first
    # the retry came late: it must not undo what was written since
    assert subject.store.get(name, ["a"])[0].metadata == {"newer": True}
    assert newer.seq > first.seq
    assert subject.put(name, [one("c")], request_id="s").seq > newer.seq


def test_a_retry_of_an_addition_is_no_addition(subject):
    name = subject.create()
    _or_unimplemented(subject, name)
    first = subject.put(name, [one("a")], request_id="r", add_only=True)
    assert subject.put(name, [one("a")], request_id="r", add_only=True) == first


def test_a_request_id_goes_with_its_items(subject):
    name = subject.create()
    _or_unimplemented(subject, name)
    subject.put(name, [one("a")], request_id="r")
    for other in ([one("a", other=True)], [one("b")], [one("a", seed=1)], [one("a"), one("b")]):
        with pytest.raises(InvalidRequestError, match="'r'"):
            subject.put(name, other, request_id="r")
    assert [item.id for item in subject.all(name)] == ["a"]


def test_a_request_id_is_one_tenants_and_one_collections_own(subject):
    name, other = subject.create(), subject.create()
    _or_unimplemented(subject, name)
    for place, tenant in ((name, ""), (name, "t"), (other, "")):
        subject.put(place, [one("a", where=place + tenant)], request_id="r", tenant=tenant)
        (item,) = subject.store.get(place, ["a"], tenant=tenant)
        assert item.metadata == {"where": place + tenant}


def test_a_request_is_forgotten_with_its_collection(subject):
    name = subject.create()
    _or_unimplemented(subject, name)
    subject.put(name, [one("a")], request_id="r")
    subject.store.drop(name)
    subject.create(name=name)
    subject.put(name, [one("a")], request_id="r")
    assert subject.store.count(name) == 1


@pytest.mark.parametrize("request_id", ["", "x" * 129, "a\x00", "\ud800"])
def test_a_request_id_that_cannot_be_kept_is_refused(subject, request_id):
    name = subject.create()
    with pytest.raises(InvalidRequestError):
        subject.put(name, [one()], request_id=request_id)


def test_get_answers_in_the_order_asked(subject):
    name = subject.create()
    subject.put(name, items_of(vectors_of(50)))
    wanted = ["id7", "id49", "id0", "id33"]
    items = subject.store.get(name, wanted, with_vectors=True)
    assert [item.id for item in items] == wanted
    for item in items:
        np.testing.assert_array_equal(item.vector, vectors_of(50)[int(item.id[2:])])


def test_get_names_the_first_unknown_id(subject):
    name = subject.create()
    subject.put(name, [one("a")])
    with pytest.raises(ItemNotFoundError, match="'b'"):
        subject.store.get(name, ["a", "b", "c"])


def test_deleted_items_are_gone_from_every_call(subject):
    name = subject.create()
    vectors = vectors_of(20)
    subject.put(name, items_of(vectors))
    gone = {"id3", "id4"}
    assert subject.store.delete(name, ["id3", "unknown", "id4"]).count == 2
    assert subject.store.count(name) == 18
    assert gone.isdisjoint(item.id for item in subject.all(name))
    for params in ({}, {"exact": True}, {"rerank": True}, {"dimension": 8}):
        assert gone.isdisjoint(ids(subject.search(name, vectors[3], k=20, **params)))
    with pytest.raises(ItemNotFoundError):
        subject.store.get(name, ["id3"])
    assert subject.store.delete(name, ["id3", "id4"]).count == 0
    subject.put(name, [Item("id3", vectors[3])], add_only=True)
    assert ids(subject.search(name, vectors[3], k=1)) == ["id3"]


def test_items_are_deleted_by_filter(subject):
    name = subject.create()
    vectors = vectors_of(40)
    subject.put(name, items_of(vectors))
    subject.put(name, items_of(vectors), tenant="other")
    receipt = subject.store.delete(name, filter=Range("number", least=30))
    assert receipt.count == 10
    assert subject.store.count(name) == 30
    assert {item.metadata["number"] for item in subject.all(name)} == set(range(30))
    assert len(subject.search(name, vectors[35], k=40, exact=True)) == 30
    assert subject.store.count(name, tenant="other") == 40
    assert subject.store.delete(name, filter=Range("number", least=30)).count == 0
    assert subject.store.delete(name, filter=Equals("$id", "id3")).count == 1


def test_a_delete_says_what(subject):
    name = subject.create()
    subject.put(name, [one("a")])
    for given in ({}, {"ids": ["a"], "filter": Equals("a", 1)}, {"ids": []}):
        with pytest.raises(InvalidRequestError):
            subject.store.delete(name, **given)
    assert subject.store.count(name) == 1


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_a_scroll_sees_every_item_once_the_oldest_first(subject, limit):
    name = subject.create(dim=4)
    for start in range(0, 30, 3):  # many writes, so that ages differ
        subject.put(name, items_of(vectors_of(3, 4), start))
    subject.put(name, items_of(vectors_of(30, 4), 30))
    expected = [f"id{number}" for number in range(60)]
    assert [item.id for item in subject.all(name, limit)] == expected


def test_a_scroll_carries_vectors_and_numbers_when_asked(subject):
    name = subject.create()
    vectors = vectors_of(30)
    subject.put(name, items_of(vectors))
    items = subject.all(name, 8, with_vectors=True)
    assert np.array_equal([item.vector for item in items], vectors)
    assert [item.seq for item in items] == sorted(item.seq for item in items)
    assert all(item.vector is None for item in subject.all(name, 8))


def test_a_scroll_goes_on_under_deletes_replacements_and_additions(subject):
    name = subject.create(dim=4)
    vectors = vectors_of(60, 4)
    subject.put(name, items_of(vectors))
    seen = []
    for place, item in enumerate(subject.scrolled(name, 5)):
        seen.append((item.id, item.metadata.get("again")))
        if place == 9:
            subject.store.delete(name, ["id2", "id40", "id41"])
            subject.put(name, [Item("id50", vectors[50], {"again": True})])
            subject.put(name, [Item("new", vectors[0], {})])
    names = [item_id for item_id, _ in seen]
    untouched = {f"id{number}" for number in range(60)} - {"id2", "id40", "id41", "id50"}
    assert {item_id for item_id in names if names.count(item_id) == 1} >= untouched
    assert {"id40", "id41"}.isdisjoint(names)
    assert ("id50", True) in seen
    assert "new" in names


@pytest.mark.parametrize("limit", [0, -1, 1_000_000])
def test_a_page_has_a_size(subject, limit):
    name = subject.create()
    with pytest.raises(InvalidRequestError):
        subject.store.scroll(name, limit=limit)


@pytest.mark.parametrize("cursor", ["", "x", "1", "-1.0", "1.0; drop", "9" * 40 + ".0"])
def test_a_cursor_is_one_that_a_page_gave(subject, cursor):
    name = subject.create()
    subject.put(name, [one()])
    with pytest.raises(InvalidRequestError):
        subject.store.scroll(name, cursor=cursor)


def test_counts_are_of_what_is_there(subject):
    name = subject.create()
    subject.put(name, items_of(vectors_of(25)))
    assert subject.store.count(name) == subject.store.describe(name).count == 25
    assert subject.store.count(name, filter=Range("number", below=5)) == 5
    assert subject.store.stats().items >= 25


@pytest.mark.parametrize("item_id", BAD_IDS, ids=lambda bad: repr(bad)[:12])
def test_an_id_that_cannot_be_kept_is_refused(subject, item_id):
    name = subject.create()
    with pytest.raises(InvalidRequestError) as told:
        subject.put(name, [one("good"), one(item_id)])
    assert len(str(told.value)) < 400
    with pytest.raises(InvalidRequestError):
        subject.store.get(name, [item_id])
    with pytest.raises(InvalidRequestError):
        subject.store.delete(name, [item_id])
    assert subject.store.count(name) == 0


@pytest.mark.parametrize(
    "vector",
    [
        np.full(DIM, np.nan, np.float32),
        np.full(DIM, np.inf, np.float32),
        np.full(DIM, -np.inf, np.float32),
        np.zeros(DIM, np.float32),
        np.full(DIM, 1e300),
        np.ones(DIM - 1, np.float32),
        np.ones(DIM + 1, np.float32),
        np.ones((1, DIM), np.float32),
        np.float32(1),
        np.array(["a"] * DIM),
        np.ones(DIM, np.complex64),
        None,
    ],
    ids=["nan", "inf", "-inf", "zero", "huge", "short", "long", "2d", "0d", "text", "complex",
         "none"],
)  # fmt: skip
def test_a_vector_that_cannot_be_compared_is_refused(subject, vector):
    name = subject.create()
    with pytest.raises(InvalidRequestError):
        subject.put(name, [one("good"), Item("bad", vector)])
    assert subject.store.count(name) == 0


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": {1, 2}},
        {"a": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)},
        {1: 2},
        {"a": (1, 2)},
        {"a": "\ud800"},
        {"a": "x" * 70_000},
        [1],
        None,
    ],
    ids=["nan", "inf", "set", "date", "key", "tuple", "surrogate", "large", "list", "none"],
)
def test_metadata_that_would_not_come_back_are_refused(subject, metadata):
    name = subject.create()
    with pytest.raises(InvalidRequestError):
        subject.put(name, [one("good"), Item("bad", vectors_of(1)[0], metadata)])
    assert subject.store.count(name) == 0


def test_vectors_of_another_space_are_refused_with_both_spaces_named(subject):
    name = subject.create()
    subject.put(name, [one()])
    with pytest.raises(SpaceMismatchError, match=f"{SPACE}.*{OTHER_SPACE}"):
        subject.store.upsert(name, [one("b")], space=OTHER_SPACE)
    with pytest.raises(SpaceMismatchError, match=f"{SPACE}.*{OTHER_SPACE}"):
        subject.store.search(name, vectors_of(1), SearchParams(), space=OTHER_SPACE)
    with pytest.raises(InvalidRequestError):
        subject.store.upsert(name, [one("b")], space="x")
    assert subject.store.count(name) == 1


def test_a_number_of_a_write_that_never_was_is_not_waited_for_for_ever(subject):
    if not subject.capabilities.read_your_writes:
        pytest.skip("declared: no reading of one's own writes")
    name = subject.create()
    seq = subject.put(name, [one()]).seq
    with pytest.raises(UnavailableError):
        subject.search(name, vectors_of(1)[0], min_seq=seq + 10**15)

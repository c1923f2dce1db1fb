"""Filters and tenants: what every store has to keep, whichever part evaluates them."""

import random

import numpy as np
import pytest
from contract import DIM, items_of, one, same, vectors_of

from kokeshi.errors import (
    CollectionNotFoundError,
    InvalidRequestError,
    ItemNotFoundError,
    UnimplementedError,
)
from kokeshi.index import Item
from kokeshi.index.checks import has_conditions
from kokeshi.index.filters import (
    And,
    Equals,
    Exists,
    In,
    Not,
    Or,
    Prefix,
    Range,
    Within,
    matches,
)

PLACES = {
    "london": {"lat": 51.5074, "lon": -0.1278},
    "suva": {"lat": -18.1416, "lon": 178.4419},
    "apia": {"lat": -13.8333, "lon": -171.7667},
    "pole": {"lat": 89.99, "lon": 12.0},
}
METADATA = [
    {},
    {"colour": "red", "size": 1, "flag": True},
    {"colour": "red", "size": 1.0, "flag": False},
    {"colour": "Red", "size": True, "flag": 1},
    {"colour": "blue", "size": 2, "flag": 0},
    {"colour": "blue", "size": 2.5, "camera": {"model": "X", "lens": {"mm": 35}}},
    {"colour": "", "size": -3, "camera": {"model": "Y"}},
    {"colour": None, "size": None, "flag": None, "camera": None},
    {"colour": ["red", "green"], "size": [1, 7, 30]},
    {"colour": ["blue"], "size": [], "camera": []},
    {"colour": [None, "reddish", 5, True], "size": ["1", 2.5, False]},
    {"colour": 'quo"te', "size": "1"},
    {"colour": "back\\slash", "size": "10"},
    {"colour": "it's", "size": "abc"},
    {"colour": "100%_x", "size": 10**12},
    {"colour": "élan", "size": 2**53 + 1},
    {"colour": "e\u0301lan", "size": 2**53},
    {"colour": "\U0001f38e doll", "size": -(2**62)},
    {"colour": "red\nline", "size": 1e-300},
    {"colour": {"red": 1}, "size": {"x": 1}},
    {"when": "2026-01-01T00:00:00Z"},
    {"when": "2026-11-21T12:30:00Z", "colour": "reddest"},
    {"place": PLACES["london"]},
    {"place": PLACES["suva"]},
    {"place": PLACES["apia"]},
    {"place": PLACES["pole"]},
    {"place": {"lat": "51", "lon": 0}},
    {"place": [PLACES["london"], PLACES["suva"]]},
    {"camera": {"model": ["X", "Z"], "lens": {"mm": 50.0}}},
    {"camera": "X"},
    {"key with space": 1, 'quote"key': 2, "back\\key": 3, "tenant": "x", "id": "y", "seq": 4},
    {"false": False, "null": None, "zero": 0, "empty": ""},
]
FILTERS = [
    Equals("colour", "red"),
    Equals("colour", ""),
    Equals("colour", 'quo"te'),
    Equals("colour", "back\\slash"),
    Equals("colour", "it's"),
    Equals("colour", "100%_x"),
    Equals("colour", "élan"),
    Equals("colour", "\U0001f38e doll"),
    Equals("colour", "red\nline"),
    Equals("colour", 5),
    Equals("colour", '" or true or "'),
    Equals("size", 1),
    Equals("size", 1.0),
    Equals("size", True),
    Equals("size", "1"),
    Equals("size", 2.5),
    Equals("size", -3),
    Equals("size", 2**53),
    Equals("size", 2**53 + 1),
    Equals("size", -(2**62)),
    Equals("flag", True),
    Equals("flag", False),
    Equals("flag", 1),
    Equals("flag", 0),
    Equals("camera.model", "X"),
    Equals("camera.lens.mm", 50),
    Equals("camera", "X"),
    Equals("absent", 1),
    Equals("tenant", "x"),
    Equals("id", "y"),
    Equals("seq", 4),
    Equals("key with space", 1),
    Equals('quote"key', 2),
    Equals("back\\key", 3),
    Equals("$id", "id3"),
    Equals("$id", 'x"'),
    Equals("$origin", ""),
    Equals("$origin", "aaaaaaaaaaaaaaaa"),
    In("colour", ("red", "blue", "absent")),
    In("colour", ("red", 5, True)),
    In("size", (1, 2.5, "1", False)),
    In("$id", ("id1", "id5", "none")),
    In("colour", ('quo"te', "back\\slash")),
    Range("size", least=1),
    Range("size", above=1),
    Range("size", most=1, above=-10),
    Range("size", below=2.5, least=1.5),
    Range("size", least=2**53 + 1),
    Range("size", above=5, below=10),
    Range("size", least="1", most="2"),
    Range("colour", least="b", below="s"),
    Range("colour", above="s"),
    Range("when", least="2026-06-01", below="2027"),
    Range("$id", least="id2", below="id3"),
    Range("camera.lens.mm", least=35, most=40),
    Exists("colour"),
    Exists("camera"),
    Exists("camera.model"),
    Exists("camera.lens.mm"),
    Exists("absent"),
    Exists("null"),
    Exists("false"),
    Exists("$origin"),
    Prefix("colour", "red"),
    Prefix("colour", ""),
    Prefix("colour", "100%"),
    Prefix("colour", "1__"),
    Prefix("colour", "back\\"),
    Prefix("colour", 'quo"'),
    Prefix("colour", "\U0001f38e"),
    Prefix("camera.model", "X"),
    Prefix("$id", "id1"),
    Within("place", 51.5, -0.1, 20_000),
    Within("place", 0, 180, 2_500_000),
    Within("place", -16, -179, 1_500_000),
    Within("place", 90, 0, 5_000),
    Within("place", 0, 0, 30_000_000),
    And(()),
    Or(()),
    And((Equals("colour", "red"), Equals("size", 1))),
    Or((Equals("colour", "blue"), Exists("place"))),
    Not(Equals("colour", "red")),
    Not(Exists("colour")),
    Not(Range("size", least=0)),
    Not(In("size", (1, 2))),
    Not(Prefix("colour", "red")),
    Not(Within("place", 51.5, -0.1, 20_000)),
    Not(And((Equals("colour", "red"), Within("place", 0, 0, 1)))),
    Not(Or((Exists("colour"), Exists("size")))),
    And((Not(Not(Equals("size", 2))), Or((Equals("colour", "blue"), Equals("flag", True))))),
]
HOSTILE_TENANTS = ["", "t", "T", "tt", '" or true or "', "'", "\\", "%", "ü", "a b", "x" * 256]


def _items():
    vectors = vectors_of(len(METADATA), 8)
    return [
        Item(f"id{place}", vector, metadata, origin="a" * 16 if place % 5 == 0 else "")
        for place, (vector, metadata) in enumerate(zip(vectors, METADATA, strict=True))
    ]


def _expected(items, asked):
    return [item.id for item in items if matches(asked, item.id, item.origin, item.metadata)]


@pytest.fixture(scope="module")
def zoo(shared_subject):
    """A collection of every shape of metadata, that is only read."""
    name = shared_subject.create(dim=8)
    shared_subject.put(name, _items())
    # others' items, that fit as well
    shared_subject.put(name, _items(), tenant="other")
    return name


def _check(subject, name, asked):
    items = _items()
    expected = _expected(items, asked)
    assert subject.store.count(name, filter=asked) == len(expected)
    assert [item.id for item in subject.all(name, 10, filter=asked)] == expected
    for params in ({"exact": True}, {}):
        hits = subject.search(name, items[0].vector, k=len(items), filter=asked, **params)
        assert sorted(hit.id for hit in hits) == sorted(expected)
        for hit in hits:
            assert same(dict(hit.metadata), METADATA[int(hit.id[2:])])


@pytest.mark.parametrize("asked", FILTERS, ids=lambda asked: str(asked)[:60])
def test_a_filter_means_the_same_everywhere(shared_subject, zoo, asked):
    _check(shared_subject, zoo, asked)


def _random_filter(rng, depth=0):
    kinds = ["leaf"] * 3 + (["and", "or", "not"] if depth < 3 else [])
    kind = rng.choice(kinds)
    if kind == "leaf":
        return rng.choice([asked for asked in FILTERS if not isinstance(asked, And | Or | Not)])
    if kind == "not":
        return Not(_random_filter(rng, depth + 1))
    terms = tuple(_random_filter(rng, depth + 1) for _ in range(rng.randint(0, 3)))
    return And(terms) if kind == "and" else Or(terms)


@pytest.mark.parametrize("seed", range(12))
def test_any_filter_means_the_same_everywhere(shared_subject, zoo, seed):
    rng = random.Random(seed)
    for _ in range(3):
        _check(shared_subject, zoo, _random_filter(rng))


def test_deletes_take_what_a_filter_means_and_nothing_else(subject):
    items = _items()
    name = subject.create(dim=8)
    for asked in filter(has_conditions, FILTERS[::7]):
        subject.put(name, items)
        subject.put(name, items, tenant="other")
        expected = _expected(items, asked)
        assert subject.store.delete(name, filter=asked).count == len(expected)
        left = sorted(item.id for item in subject.all(name))
        assert left == sorted({item.id for item in items} - set(expected))
        assert subject.store.count(name, tenant="other") == len(items)


@pytest.mark.parametrize(
    "asked",
    [
        Equals("", 1),
        Equals("size", float("nan")),
        Equals("size", None),
        Range("size"),
        Range("size", least=1, most="2"),
        In("size", tuple(range(100_000))),
        Within("place", 91, 0, 1),
        Within("place", 0, 0, -1),
        And(tuple(Equals("size", number) for number in range(1000))),
        "size == 1",
    ],
    ids=lambda asked: str(asked)[:40],
)
def test_a_filter_that_cannot_be_asked_is_refused_by_every_call(subject, asked):
    name = subject.create(dim=8)
    subject.put(name, [one(dim=8)])
    with pytest.raises(InvalidRequestError):
        subject.store.count(name, filter=asked)
    with pytest.raises(InvalidRequestError):
        subject.store.scroll(name, filter=asked)
    with pytest.raises(InvalidRequestError):
        subject.store.delete(name, filter=asked)
    with pytest.raises(InvalidRequestError):
        subject.search(name, vectors_of(1, 8)[0], filter=asked)
    assert subject.store.count(name) == 1


def test_tenants_see_their_own_items_in_every_call(subject):
    name = subject.create()
    mine, yours = vectors_of(20), -vectors_of(20)
    subject.put(name, items_of(mine), tenant="mine")
    subject.put(name, items_of(yours), tenant="yours")
    subject.put(name, [one("only", seed=9)], tenant="yours")
    store = subject.store
    assert store.count(name, tenant="mine") == 20
    assert store.count(name) == 0
    assert store.describe(name).count == 41
    assert "only" not in [item.id for item in subject.all(name, tenant="mine")]
    assert subject.all(name) == []
    for params in ({"exact": True}, {}, {"rerank": True}, {"dimension": 8}):
        hits = subject.search(name, yours[3], k=50, tenant="mine", with_vectors=True, **params)
        assert len(hits) == 20
        for hit in hits:
            np.testing.assert_array_equal(hit.vector, mine[int(hit.id[2:])])
        assert subject.search(name, mine[0], k=50, **params) == ()
    (item,) = store.get(name, ["id3"], with_vectors=True, tenant="yours")
    np.testing.assert_array_equal(item.vector, yours[3])
    for tenant in ("mine", ""):
        with pytest.raises(ItemNotFoundError):
            store.get(name, ["only"], tenant=tenant)
        assert store.delete(name, ["only"], tenant=tenant).count == 0
    assert store.delete(name, filter=And(()), tenant="mine").count == 20
    assert store.count(name, tenant="yours") == 21
    store.delete(name, ["id3"], tenant="yours")
    subject.put(name, [one("id3")], add_only=True, tenant="yours")


def test_tenants_are_told_apart_whatever_they_are_called(subject):
    name = subject.create(dim=8)
    for place, tenant in enumerate(HOSTILE_TENANTS):
        subject.put(name, [one("a", 8, seed=place, place=place), one(f"{place}", 8)], tenant=tenant)
    for place, tenant in enumerate(HOSTILE_TENANTS):
        assert subject.store.count(name, tenant=tenant) == 2
        (item,) = subject.store.get(name, ["a"], tenant=tenant)
        assert item.metadata == {"place": place}
        hits = subject.search(name, vectors_of(1, 8)[0], k=50, tenant=tenant)
        assert {hit.id for hit in hits} == {"a", f"{place}"}


def test_tenants_are_listed_with_the_number_of_their_items(subject):
    name = subject.create(dim=8)
    store = subject.store
    if not subject.capabilities.tenants:
        with pytest.raises(UnimplementedError, match="do not keep the names"):
            store.tenants(name)
        return
    assert store.tenants(name) == {}
    for tenant, count in (("b", 2), ("", 3), ("a", 1), ("gone", 2)):
        subject.put(name, items_of(vectors_of(count, 8)), tenant=tenant)
    store.delete(name, ["id0", "id1"], tenant="gone")
    subject.put(name, [one("id0", 8)], tenant="b")  # in place of another
    assert list(store.tenants(name).items()) == [("", 3), ("a", 1), ("b", 2)]
    assert len(store.tenants(name, limit=2)) == 2
    store.delete(name, filter=And((Exists("number"),)))
    assert list(store.tenants(name)) == ["a", "b"]


def test_tenants_are_listed_whatever_they_are_called(subject):
    if not subject.capabilities.tenants:
        pytest.skip("declared: no tenants")
    name = subject.create(dim=8)
    for tenant in HOSTILE_TENANTS:
        subject.put(name, [one("a", 8)], tenant=tenant)
    found = subject.store.tenants(name)
    assert found == dict.fromkeys(HOSTILE_TENANTS, 1)
    assert list(found) == sorted(found)


def test_tenants_of_a_collection_that_is_not_there_are_not_listed(subject):
    with pytest.raises(CollectionNotFoundError):
        subject.store.tenants("none")


def test_an_id_does_not_run_over_into_its_tenants_name(subject):
    name = subject.create(dim=8)
    pairs = [("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", "x"), ("1:a", "b"), ("1", ":ab")]
    for place, (tenant, item_id) in enumerate(pairs):
        subject.put(name, [one(item_id, 8, place=place)], tenant=tenant, add_only=True)
    for place, (tenant, item_id) in enumerate(pairs):
        (item,) = subject.store.get(name, [item_id], tenant=tenant)
        assert item.metadata == {"place": place}


@pytest.mark.parametrize("tenant", ["x" * 257, "a\x00", "a\nb", "\ud800"])
def test_a_tenants_name_that_cannot_be_kept_is_refused_by_every_call(subject, tenant):
    name = subject.create()
    store = subject.store
    for call in (
        lambda: subject.put(name, [one()], tenant=tenant),
        lambda: store.delete(name, ["a"], tenant=tenant),
        lambda: store.get(name, ["a"], tenant=tenant),
        lambda: store.scroll(name, tenant=tenant),
        lambda: store.count(name, tenant=tenant),
        lambda: subject.search(name, np.ones(DIM, np.float32), tenant=tenant),
    ):
        with pytest.raises(InvalidRequestError):
            call()


def test_a_filter_and_a_tenant_hold_together_at_any_share(subject):
    name = subject.create(dim=8)
    vectors = vectors_of(300, 8)
    for tenant in range(5):
        subject.put(name, items_of(vectors[tenant * 60 : tenant * 60 + 60]), tenant=f"t{tenant}")
    for tenant in range(5):
        hits = subject.search(
            name, vectors[0], k=10, tenant=f"t{tenant}", filter=Range("number", least=50),
            with_vectors=True,
        )  # fmt: skip
        assert len(hits) == 10
        for hit in hits:
            assert hit.metadata["number"] >= 50
            np.testing.assert_array_equal(hit.vector, vectors[tenant * 60 + hit.metadata["number"]])

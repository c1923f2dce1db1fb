"""Collections, writes, reads and what is refused at the door."""

import numpy as np
import pytest

from kokeshi.errors import (
    AlreadyExistsError,
    CollectionNotFoundError,
    InvalidRequestError,
    ItemNotFoundError,
    SpaceMismatchError,
    UnavailableError,
)
from kokeshi.index import CollectionSpec, EmbeddedStore, Item, SearchParams, Store

SPACE = "0123456789abcdef"
ONES = np.ones(16, np.float32)


def ids_of(store, name="faces"):
    return [item.id for item in store.scroll(name, limit=1000).items]


def test_the_embedded_store_is_a_store(store):
    protocol: Store = store
    assert protocol.collections() == []


def test_items_come_back_with_the_bytes_that_were_given(faces):
    vector = np.random.default_rng(0).standard_normal(16).astype(np.float32) * 7
    metadata = {"label": "dóll", "tags": ["a", {"b": None}], "weight": 1.5, "ok": True}
    receipt = faces.upsert("faces", [Item("a b/ü", vector, metadata)], space=SPACE)
    assert (receipt.seq, receipt.count, receipt.is_fsynced) == (1, 1, True)
    [item] = faces.get("faces", ["a b/ü"], with_vectors=True)
    assert item.metadata == metadata
    assert item.vector.tobytes() == vector.tobytes()
    assert faces.get("faces", ["a b/ü"])[0].vector is None


def test_an_upsert_replaces_and_add_only_refuses(faces):
    faces.upsert("faces", [Item("a", ONES, {"v": 1})], space=SPACE)
    faces.upsert("faces", [Item("a", -ONES, {"v": 2}), Item("b", ONES)], space=SPACE)
    assert faces.get("faces", ["a"])[0].metadata == {"v": 2}
    with pytest.raises(AlreadyExistsError, match="'b'"):
        faces.upsert("faces", [Item("c", ONES), Item("b", ONES)], space=SPACE, add_only=True)
    assert ids_of(faces) == ["a", "b"]  # nothing of the batch was written
    assert faces.describe("faces").seq == 2
    assert faces.describe("faces").count == 2


def test_a_retry_returns_the_first_receipt(faces):
    rows = [Item("a", ONES, {"v": 1})]
    first = faces.upsert("faces", rows, space=SPACE, request_id="r1", add_only=True)
    faces.upsert("faces", [Item("a", ONES, {"v": 2})], space=SPACE)
    again = faces.upsert("faces", rows, space=SPACE, request_id="r1", add_only=True)
    assert again == first
    assert faces.get("faces", ["a"])[0].metadata == {"v": 2}
    with pytest.raises(InvalidRequestError, match="'r1' was used with other items"):
        faces.upsert("faces", [Item("z", ONES)], space=SPACE, request_id="r1")


def test_a_retry_is_known_after_a_restart(tmp_path):
    with EmbeddedStore(tmp_path) as store:
        store.create(CollectionSpec("faces", SPACE, 16))
        first = store.upsert("faces", [Item("a", ONES)], space=SPACE, request_id="r1")
        store.delete("faces", ["a"])
    with EmbeddedStore(tmp_path) as store:
        assert store.upsert("faces", [Item("a", ONES)], space=SPACE, request_id="r1") == first
        assert ids_of(store) == []


def test_a_refused_request_is_not_remembered(faces):
    faces.upsert("faces", [Item("a", ONES)], space=SPACE)
    rows = [Item("a", ONES, {"v": 2})]
    with pytest.raises(AlreadyExistsError):
        faces.upsert("faces", rows, space=SPACE, request_id="r1", add_only=True)
    assert faces.upsert("faces", rows, space=SPACE, request_id="r1").seq == 2


def test_delete_counts_what_was_there(faces):
    faces.upsert("faces", [Item("a", ONES), Item("b", ONES)], space=SPACE)
    assert faces.delete("faces", ["b", "nobody"]).count == 1
    assert faces.delete("faces", ["b"]).count == 0
    with pytest.raises(ItemNotFoundError, match="'b' in collection 'faces'"):
        faces.get("faces", ["a", "b"])
    assert faces.describe("faces").count == 1


def test_a_scroll_sees_every_item_once(faces, items):
    faces.upsert("faces", items(np.eye(16, dtype=np.float32)), space=SPACE)
    seen, cursor = [], None
    while True:
        page = faces.scroll("faces", cursor=cursor, limit=5, with_vectors=True)
        seen += [item.id for item in page.items]
        if cursor is None:  # a new item comes last, a deleted one not at all
            faces.upsert("faces", [Item("new", ONES)], space=SPACE)
            faces.delete("faces", ["id9"])
        if page.cursor is None:
            break
        cursor = page.cursor
    assert seen == [f"id{i}" for i in range(16) if i != 9] + ["new"]
    assert faces.scroll("faces", limit=16).cursor is None


def test_collections_are_kept_apart(faces):
    faces.create(CollectionSpec("other", "f" * 16, 16))
    faces.upsert("faces", [Item("a", ONES, {"of": "faces"})], space=SPACE, request_id="r")
    faces.upsert("other", [Item("a", ONES, {"of": "other"})], space="f" * 16, request_id="r")
    faces.delete("other", ["a"])
    assert faces.get("faces", ["a"])[0].metadata == {"of": "faces"}
    assert faces.search("other", ONES[None], SearchParams(), space="f" * 16).hits == ((),)


def test_a_collection_can_be_dropped_and_made_anew(faces):
    faces.upsert("faces", [Item("a", ONES)], space=SPACE, request_id="r")
    faces.drop("faces")
    assert faces.collections() == []
    with pytest.raises(CollectionNotFoundError, match="'faces'"):
        faces.search("faces", ONES[None], SearchParams(), space=SPACE)
    faces.create(CollectionSpec("faces", SPACE, 4))
    assert faces.describe("faces").count == 0
    assert faces.upsert("faces", [Item("a", np.ones(4))], space=SPACE, request_id="r").seq == 1


def test_ensure_finds_what_create_made(faces):
    spec = CollectionSpec("faces", SPACE, 16, dimensions=(4, 8, 16))
    assert faces.ensure(spec) == faces.describe("faces")
    with pytest.raises(AlreadyExistsError, match="'faces' exists"):
        faces.create(spec)
    with pytest.raises(SpaceMismatchError, match=f"{SPACE}.*{'f' * 16}"):
        faces.ensure(CollectionSpec("faces", "f" * 16, 16))
    with pytest.raises(AlreadyExistsError, match="other settings"):
        faces.ensure(CollectionSpec("faces", SPACE, 32))


def test_a_write_is_found_by_the_next_search(faces):
    for i in range(50):
        vector = np.random.default_rng(i).standard_normal(16)
        receipt = faces.upsert("faces", [Item(f"id{i}", vector)], space=SPACE)
        found = faces.search("faces", vector[None], SearchParams(1), space=SPACE)
        assert found.seq >= receipt.seq
        assert found.hits[0][0].id == f"id{i}"


def test_a_closed_store_says_so(tmp_path):
    store = EmbeddedStore(tmp_path)
    store.create(CollectionSpec("faces", SPACE, 16))
    store.close()
    store.close()
    with pytest.raises(UnavailableError, match="closed"):
        store.upsert("faces", [Item("a", ONES)], space=SPACE)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "expected 1 to"),
        ([Item("", ONES)], "1 to 256 characters, got ''"),
        ([Item("x" * 1_000_000, ONES)], "1 to 256 characters"),
        ([Item("a\x00b", ONES)], "control"),
        ([Item("\ud800", ONES)], "control"),
        ([Item("a", ONES), Item("a", ONES)], "'a' comes twice"),
        ([Item("a", ONES[:15])], r"16 values, got shape \(15,\)"),
        ([Item("a", None)], r"16 values, got shape \(\)"),
        ([Item("a", ONES * np.nan)], "'a' holds NaN"),
        ([Item("b", ONES), Item("a", ONES * np.inf)], "'a' holds NaN or inf"),
        ([Item("a", np.full(16, 1e39))], "infinity"),
        ([Item("a", ONES * 0)], "'a' is all zero"),
        ([Item("a", ONES, ["list"])], "JSON object"),
        ([Item("a", ONES, {"x": {1, 2}})], "not JSON"),
        ([Item("a", ONES, {1: 2})], "not JSON"),
        ([Item("a", ONES, {"x": float("nan")})], "values that JSON does not"),
        ([Item("a", ONES, {"x": "y" * 70_000})], "65536 bytes, got"),
    ],
)
def test_an_upsert_that_cannot_be_right_is_refused_whole(faces, rows, message):
    with pytest.raises(InvalidRequestError, match=message) as error:
        faces.upsert("faces", rows, space=SPACE)
    assert len(str(error.value)) < 300
    assert faces.describe("faces").seq == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Faces"}, "'Faces'"),
        ({"name": ""}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"name": "a/../b"}, "name"),
        ({"space": "xyz"}, "'xyz'"),
        ({"dim": 0}, "dim must be"),
        ({"dimensions": (8, 4, 16)}, "ascend"),
        ({"dimensions": (4, 8)}, "full length 16"),
        ({"dimensions": (0, 16)}, "ascend"),
        ({"metric": "dot"}, "metric must be one of cosine, ip, l2, hyperbolic, got 'dot'"),
        ({"index": "tree"}, "index must be"),
        ({"metric": "hyperbolic", "dimensions": (8, 16)}, "no prefixes"),
        ({"metric": "hyperbolic", "index": "codes"}, "one of auto, flat, got 'codes'"),
        ({"metric": "hyperbolic", "curvature": 0.0}, "curvature must be above 0"),
        ({"curvature": 2.0}, "hyperbolic metric only"),
        ({"durability": "none"}, "durability must be"),
        ({"graph_dimension": 5}, "trained 16, got 5"),
    ],
)
def test_a_collection_that_cannot_be_served_is_refused(store, changes, message):
    spec = CollectionSpec(**{"name": "faces", "space": SPACE, "dim": 16, **changes})
    with pytest.raises(InvalidRequestError, match=message):
        store.create(spec)


def test_values_whose_squares_overflow_are_refused_under_l2(store):
    store.create(CollectionSpec("points", SPACE, 4, metric="l2"))
    with pytest.raises(InvalidRequestError, match="beyond 1e"):
        store.upsert("points", [Item("a", np.full(4, 1e20))], space=SPACE)
    store.upsert("points", [Item("a", np.zeros(4))], space=SPACE)
    assert (
        store.search("points", np.zeros((1, 4)), SearchParams(), space=SPACE).hits[0][0].score == 0
    )


@pytest.mark.parametrize(
    "cursor", ["", "x", "1", "1.2.3", "-1.0", "9" * 30 + ".1", "\u0661.\u0661"]
)
def test_a_foreign_cursor_is_refused(faces, cursor):
    with pytest.raises(InvalidRequestError, match="page token"):
        faces.scroll("faces", cursor=cursor)
    with pytest.raises(InvalidRequestError, match="limit"):
        faces.scroll("faces", limit=0)


def test_a_cursor_is_of_its_own_collection_alone(faces, clustered, items):
    faces.create(CollectionSpec("other", SPACE, 16))
    for name in ("faces", "other"):
        faces.upsert(name, items(clustered(4, 16)), space=SPACE)
    cursor = faces.scroll("faces", limit=2).cursor
    assert [item.id for item in faces.scroll("faces", cursor=cursor).items] == ["id2", "id3"]
    with pytest.raises(InvalidRequestError, match="the page token is that of another collection"):
        faces.scroll("other", cursor=cursor)
    faces.drop("faces")
    faces.create(CollectionSpec("faces", SPACE, 16))
    faces.upsert("faces", items(clustered(4, 16)), space=SPACE)
    with pytest.raises(InvalidRequestError, match="the page token is that of another collection"):
        faces.scroll("faces", cursor=cursor)

"""Batches: what the caller prepares, and what becomes of a batch that cannot be prepared."""

import threading

import numpy as np
import pytest

from kokeshi.errors import InvalidRequestError
from kokeshi.index import CollectionSpec, EmbeddedStore, Item, SearchParams, Tuning
from kokeshi.index.collection import Collection
from kokeshi.index.filters import And, Equals, Range
from kokeshi.index.filters.columns import RECENT_ROWS

SPACE = "0123456789abcdef"
DIM = 8


def batch_of(first, count):
    vectors = np.random.default_rng(first).standard_normal((count, DIM))
    return [
        Item(f"id{first + i}", vector, {"number": first + i, "parity": ("even", "odd")[i % 2]})
        for i, vector in enumerate(vectors)
    ]


@pytest.fixture
def tight(tmp_path):
    """A store whose segments are full after a few batches."""
    with EmbeddedStore(tmp_path, Tuning(segment_rows=3 * RECENT_ROWS)) as opened:
        opened.create(CollectionSpec("a", SPACE, DIM, dimensions=(4, DIM)))
        yield opened


@pytest.mark.parametrize("tenant", ["", "shop"])
def test_batches_of_any_size_answer_filters_as_soon_as_they_are_acknowledged(tight, tenant):
    first = 0
    for count in (1, 10, RECENT_ROWS, 3, RECENT_ROWS - 1, 5 * RECENT_ROWS, 2, RECENT_ROWS + 1):
        items = batch_of(first, count)
        tight.upsert("a", items, space=SPACE, tenant=tenant)
        tight.upsert("a", items[:1], space=SPACE, tenant="another")
        wanted = And((Range("number", least=first), Equals("parity", "even")))
        params = SearchParams(10_000, filter=wanted, exact=True, tenant=tenant)
        hits = tight.search("a", np.ones((1, DIM)), params, space=SPACE).hits[0]
        assert {hit.id for hit in hits} == {item.id for item in items[::2]}
        first += count
    assert tight.describe("a").count == first + 8


def test_items_of_one_batch_keep_their_own_origins_and_metadata(tight):
    items = [
        Item(f"ünï{i}/日本", np.ones(DIM), {"number": i} if i % 3 else {}, origin=SPACE * (i % 2))
        for i in range(2 * RECENT_ROWS)
    ]
    tight.upsert("a", items, space=SPACE)
    found = tight.get("a", [item.id for item in items])
    assert [(one.id, one.metadata, one.origin) for one in found] == [
        (item.id, item.metadata, item.origin) for item in items
    ]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ([1], "of 'id300' must be a JSON object"),
        ({"x": {1, 2}}, "of 'id300' is not JSON"),
        ({"x": float("nan")}, "of 'id300' holds values that JSON does not"),
        ({"x": (1, 2)}, "of 'id300' holds values that JSON does not"),
        ({"x": "y" * 70_000}, "of 'id300' must not exceed 65536 bytes, got"),
    ],
)
def test_one_bad_item_of_a_large_batch_is_named(tight, metadata, message):
    items = batch_of(0, 400)
    items[300] = Item("id300", np.ones(DIM), metadata)
    with pytest.raises(InvalidRequestError, match=message):
        tight.upsert("a", items, space=SPACE)
    assert tight.describe("a").seq == 0


def failing(monkeypatch, is_failing):
    """Coding of rows runs out of memory in threads of which this is true."""
    code = Collection.encoded

    def encoded(collection, block):
        if is_failing(threading.current_thread()):
            raise MemoryError("no memory for codes")
        return code(collection, block)

    monkeypatch.setattr(Collection, "encoded", encoded)


def test_a_batch_that_its_caller_cannot_prepare_is_prepared_by_the_writer(tight, monkeypatch):
    me = threading.current_thread()
    failing(monkeypatch, lambda thread: thread is me)
    assert tight.upsert("a", batch_of(0, 400), space=SPACE).count == 400
    hits = tight.search("a", np.ones((1, DIM)), SearchParams(1000), space=SPACE).hits[0]
    assert len(hits) == 400


def test_a_batch_that_nobody_can_prepare_is_not_committed(tight, monkeypatch, tmp_path):
    with monkeypatch.context() as broken:
        failing(broken, lambda thread: True)
        with pytest.raises(MemoryError):
            tight.upsert("a", batch_of(0, 400), space=SPACE, request_id="r")
    assert tight.describe("a").count == 0
    assert tight.upsert("a", batch_of(400, 3), space=SPACE).seq == 1, "it took no number"
    assert tight.upsert("a", batch_of(0, 400), space=SPACE, request_id="r").count == 400
    tight.close()
    with EmbeddedStore(tmp_path) as again:
        assert again.describe("a").count == 403


def test_batches_of_many_callers_are_all_there_and_whole(tight):
    def write(number):
        for first in range(number * 5000, number * 5000 + 2000, 500):
            tight.upsert("a", batch_of(first, 500), space=SPACE, request_id=f"r{first}")

    callers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for number in range(4):
        params = SearchParams(
            10_000,
            filter=Range("number", least=number * 5000, below=number * 5000 + 2000),
            exact=True,
        )
        hits = tight.search("a", np.ones((1, DIM)), params, space=SPACE).hits[0]
        assert len(hits) == 2000
        for hit in hits[:20]:
            assert hit.metadata["number"] == int(hit.id.removeprefix("id"))

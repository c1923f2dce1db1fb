"""The parts of the Qdrant store that need no server."""

import uuid
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import orjson
import pytest
from qdrant_stand_in import skip_without_qdrant

from kokeshi.errors import (
    CollectionNotFoundError,
    DeadlineError,
    InvalidRequestError,
    KokeshiError,
    OverloadedError,
    SetupError,
    UnavailableError,
    UnimplementedError,
)
from kokeshi.index import CollectionSpec, Item, SearchParams
from kokeshi.index.distributed.clock import Clock
from kokeshi.index.distributed.requests import Request
from kokeshi.index.distributed.telling import GoneError
from kokeshi.index.filters import And, Equals, Exists, Prefix
from kokeshi.index.filters.qdrant import OPERATORS
from kokeshi.index.qdrant import QdrantStore
from kokeshi.index.qdrant.faults import translated
from kokeshi.index.qdrant.layout import Layout, layout_of, public_name, read_layout, stored_name
from kokeshi.index.qdrant.points import key_of, keys_of, points_of, row_of
from kokeshi.index.qdrant.search import plan_of
from kokeshi.index.qdrant.where import Where

SPACE = "0123456789abcdef"
SPEC = CollectionSpec("my-faces_2", SPACE, 256, dimensions=(16, 64, 256))


def layout(is_local=False, **settings):
    return layout_of(replace(SPEC, **settings), made="abc", is_local=is_local)


class QdrantError(Exception):
    """As gRPC has it: a status, and words of its own."""

    def __init__(self, name):
        super().__init__("internal host 10.0.0.1 shard 7")
        self.code = lambda: SimpleNamespace(name=name)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("UNAVAILABLE", GoneError),
        ("CANCELLED", GoneError),
        ("DEADLINE_EXCEEDED", DeadlineError),
        ("RESOURCE_EXHAUSTED", OverloadedError),
        ("NOT_FOUND", CollectionNotFoundError),
        ("UNAUTHENTICATED", UnavailableError),
        ("PERMISSION_DENIED", UnavailableError),
        ("UNIMPLEMENTED", UnimplementedError),
        ("INVALID_ARGUMENT", KokeshiError),
        ("INTERNAL", KokeshiError),
    ],
)
def test_every_failure_of_qdrant_has_a_name_here_and_keeps_its_words_to_itself(status, expected):
    told = translated(QdrantError(status), name="faces", timeout_s=3)
    assert type(told) is expected
    assert "10.0.0.1" not in str(told)


def test_a_server_that_is_too_busy_says_for_how_long():
    skip_without_qdrant()
    from qdrant_client.common.client_exceptions import ResourceExhaustedResponse

    told = translated(ResourceExhaustedResponse("full", 7), name="faces", timeout_s=3)
    assert isinstance(told, OverloadedError)
    assert told.retry_after_s == 7


def test_what_is_no_failure_of_a_call_is_one_all_the_same():
    assert type(translated(ValueError("odd"), name="faces", timeout_s=3)) is KokeshiError


def test_names_have_one_spelling_each():
    for name in ("a-b", "a_b", "ab", "requests", "-", "_"):
        assert public_name(stored_name(name)) == name
    assert public_name("kokeshi_REQUESTS") is None
    assert public_name("theirs") is None


def test_a_layout_is_read_as_it_was_written():
    for made in (layout(), layout(metric="l2", index="flat"), layout(graph_dimension=16)):
        (encoded,) = made.properties.values()
        assert read_layout(encoded, "x", is_local=False, replicas=1) == made


@pytest.mark.parametrize("encoded", [None, "", "{}", "[]", '{"format": 1, "spec": {}}'])
def test_what_is_no_layout_is_not_made_by_kokeshi(encoded):
    with pytest.raises(UnavailableError, match="not made by kokeshi"):
        read_layout(encoded, "faces", is_local=False, replicas=1)


def test_a_layout_of_a_newer_version_is_not_guessed_at():
    (encoded,) = layout().properties.values()
    newer = orjson.dumps({**orjson.loads(encoded), "format": 2}).decode()
    with pytest.raises(UnavailableError, match="newer"):
        read_layout(newer, "faces", is_local=False, replicas=1)


def test_what_qdrant_cannot_hold_is_refused():
    with pytest.raises(UnimplementedError, match="hyperbolic"):
        layout(metric="hyperbolic", dimensions=())
    with pytest.raises(UnimplementedError, match="ivf"):
        layout(index="ivf")
    with pytest.raises(UnimplementedError, match="hnsw"):
        layout(is_local=True, index="hnsw")


def test_a_point_is_called_by_a_uuid_of_its_tenant_and_id():
    pairs = [("", "ab"), ("a", "b"), ("ab", ""), ("1", ":ab"), ("", "1:ab"), ("é", "b"), ("", "é")]
    keys = {key_of(tenant, item_id) for tenant, item_id in pairs}
    assert len(keys) == len(pairs)
    assert {uuid.UUID(key).version for key in keys} == {5}
    # points that an earlier version wrote must be found by every later one
    assert key_of("t", "a") == "7609bce8-9ea5-5296-bced-0f8684f6c4ff"
    assert keys_of("t", ["a", "b"]) == [key_of("t", "a"), key_of("t", "b")]


def there_and_back(made: Layout, items):
    skip_without_qdrant()
    vectors = np.stack([item.vector for item in items])
    encoded = [orjson.dumps(item.metadata) for item in items]
    points = points_of(made, items, vectors, encoded, tenant="t", first_seq=5)
    return points, [row_of(point, with_vector=True) for point in points]


def test_a_vector_is_stored_at_unit_norm_and_comes_back_as_it_was():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((6, 256)).astype(np.float32)
    vectors[0] /= np.linalg.norm(vectors[0])
    vectors[1] *= np.float32(1e-30)
    vectors[2] *= np.float32(1e30)
    points, rows = there_and_back(layout(), [Item(f"{n}", v) for n, v in enumerate(vectors)])
    for place, (point, row) in enumerate(zip(points, rows, strict=True)):
        assert row["full"].tobytes() == vectors[place].tobytes()
        assert np.linalg.norm(point.vector["full"]) == pytest.approx(1, abs=2e-6)
        assert np.linalg.norm(point.vector["prefix"]) == pytest.approx(1, abs=2e-6)
        # a second copy is kept only of vectors that come with another norm
        assert ("given" in point.vector) == (place > 0)


def test_other_metrics_keep_vectors_as_they_are():
    vector = np.arange(256, dtype=np.float32)
    for metric in ("ip", "l2"):
        (point,), (row,) = there_and_back(layout(metric=metric), [Item("a", vector)])
        assert set(point.vector) == {"prefix", "full"}
        assert point.vector["prefix"] == vector[:64].tolist()
        assert row["full"].tobytes() == vector.tobytes()


@pytest.mark.parametrize(
    ("metadata", "is_carried"),
    [
        ({"a": 2**63}, False),
        ({"a": [1, {"b": 2**64 - 1}]}, False),
        ({"a": -(2**63)}, True),
        ({"a": {"b": [True, None, 1.0]}}, True),
    ],
)
def test_metadata_come_back_though_the_wire_cannot_carry_them(metadata, is_carried):
    (point,), (row,) = there_and_back(layout(), [Item("a", np.ones(256, np.float32), metadata)])
    assert orjson.dumps(row["metadata"]) == orjson.dumps(metadata)
    assert ("json" not in point.payload) == is_carried


def test_metadata_that_are_deeper_than_filters_reach_travel_as_text():
    deep = inner = {}
    for _ in range(100):
        inner["a"] = inner = {}
    inner["end"] = 1
    (point,), (row,) = there_and_back(layout(), [Item("a", np.ones(256, np.float32), deep)])
    assert row["metadata"] == deep
    assert str(point.payload["metadata"]).count("{") < 20


def test_the_tenant_stands_in_every_condition():
    skip_without_qdrant()
    for asked in (None, Equals("a", 1), Exists("a"), And(())):
        where = Where.of("t", asked, OPERATORS)
        assert where.conditions[0] == {"key": "tenant", "match": {"value": "t"}}
        assert where.filter_of().must[0].key == "tenant"


def test_a_prefix_of_a_text_is_pushed_where_the_server_knows_it():
    asked = Prefix("name", "ab")
    assert not Where.of("", asked, OPERATORS).is_whole
    assert Where.of("", asked, OPERATORS | {"prefix"}).is_whole


def test_a_row_that_does_not_fit_is_not_shown_whatever_the_server_says():
    where = Where.of("t", Equals("a", 1), OPERATORS)
    row = {"tenant": "t", "id": "x", "origin": "", "metadata": {"a": 1}}
    assert where.fits(row)
    assert not where.fits({**row, "tenant": "u"})
    assert not where.fits({**row, "metadata": {"a": 2}})


@pytest.mark.parametrize(
    ("params", "source", "shortlist", "is_exact"),
    [
        ({}, "prefix", True, False),
        ({"rerank": True}, "prefix", True, False),
        ({"dimension": 64}, "prefix", False, False),
        ({"dimension": 16}, "prefix", False, False),
        ({"exact": True}, "full", False, True),
        ({"exact": True, "dimension": 64}, "prefix", False, True),
        ({"exact": True, "dimension": 16}, None, False, True),
    ],
    ids=str,
)
def test_the_way_of_a_search_follows_from_its_lengths(params, source, shortlist, is_exact):
    plan = plan_of(layout(), SearchParams(**params))
    assert (plan.source, plan.shortlist > 0, plan.is_exact) == (source, shortlist, is_exact)


class Notes(dict):
    """A journal in memory."""

    def find(self, key):
        return self.get(key)

    def note(self, entry):
        self[entry.key] = entry


def test_a_request_that_was_cut_short_is_written_again_under_the_same_numbers():
    notes, clock, written = Notes(), Clock(1.0), []

    def cut_short(first):
        written.append(first)
        raise UnavailableError("gone")

    request = Request("r", "key", "content", 5)
    with pytest.raises(UnavailableError):
        request.once(notes, clock, before=lambda: None, write=cut_short)
    refuse = pytest.fail
    last = request.once(notes, clock, before=refuse, write=written.append)
    assert written == [last - 4, last - 4]
    assert request.once(notes, clock, before=refuse, write=refuse) == last


def test_a_request_that_comes_with_other_items_is_refused():
    notes, clock = Notes(), Clock(1.0)
    Request("r", "key", "content", 1).once(notes, clock, before=lambda: None, write=lambda _: None)
    with pytest.raises(InvalidRequestError, match="'r'"):
        Request("r", "key", "other", 1).once(notes, clock, before=pytest.fail, write=pytest.fail)


def test_a_batch_without_a_request_id_is_written_as_often_as_it_comes():
    notes, written = Notes(), []
    request = Request(None, "key", "content", 1)
    for _ in range(2):
        request.once(notes, Clock(1.0), before=lambda: None, write=written.append)
    assert len(written) == 2
    assert not notes


def test_a_store_is_a_server_or_a_path():
    for settings in ({}, {"url": "http://a", "path": ":memory:"}):
        with pytest.raises(SetupError):
            QdrantStore(**settings)


def test_tenants_are_listed():
    skip_without_qdrant()
    with QdrantStore(path=":memory:") as store:
        store.create(replace(SPEC, dim=4, dimensions=()))
        for tenant in ("b", "", "a"):
            store.upsert(SPEC.name, [Item("x", np.ones(4, np.float32))], space=SPACE, tenant=tenant)
        store.delete(SPEC.name, ["x"], tenant="a")
        assert list(store.tenants(SPEC.name).items()) == [("", 1), ("b", 1)]

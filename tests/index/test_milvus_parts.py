"""The parts of the Milvus store that need no server."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from kokeshi.errors import (
    CollectionNotFoundError,
    DeadlineError,
    InvalidRequestError,
    KokeshiError,
    OverloadedError,
    UnavailableError,
    UnimplementedError,
)
from kokeshi.index import CollectionSpec, Item
from kokeshi.index.distributed.clock import Clock
from kokeshi.index.distributed.keys import digest, fingerprint
from kokeshi.index.distributed.telling import GoneError
from kokeshi.index.filters import And, Equals, Within
from kokeshi.index.milvus.faults import NotLoadedError, translated
from kokeshi.index.milvus.layout import (
    indexes_of,
    layout_of,
    public_name,
    read_layout,
    stored_name,
)
from kokeshi.index.milvus.rows import keys_of, prefixes, rows_of, tenant_key
from kokeshi.index.milvus.where import Where

SPACE = "0123456789abcdef"
SPEC = CollectionSpec("my-faces_2", SPACE, 256, dimensions=(16, 64, 256))


def layout(**settings):
    return layout_of(replace(SPEC, **settings), made="abc", partitions=16)


class MilvusError(Exception):
    """As pymilvus has it: a number, or a status of gRPC, and words of its own."""

    def __init__(self, code, *, retriable=False):
        super().__init__("internal host 10.0.0.1 field pk")
        self.code, self.retriable = code, retriable


class Status:
    """A status of gRPC is an enum of names."""

    def __init__(self, name):
        self.name = name


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (2, GoneError),
        (Status("UNAVAILABLE"), GoneError),
        (lambda: Status("UNAVAILABLE"), GoneError),
        (Status("DEADLINE_EXCEEDED"), DeadlineError),
        (8, OverloadedError),
        (9, OverloadedError),
        (Status("RESOURCE_EXHAUSTED"), OverloadedError),
        (100, CollectionNotFoundError),
        (101, NotLoadedError),
        (Status("UNAUTHENTICATED"), UnavailableError),
        (Status("UNIMPLEMENTED"), UnimplementedError),
        (1, KokeshiError),
        (65535, KokeshiError),
    ],
)
def test_every_failure_of_milvus_has_a_name_here_and_keeps_its_words_to_itself(code, expected):
    told = translated(MilvusError(code), name="faces", timeout_s=3)
    assert type(told) is expected
    assert "10.0.0.1" not in str(told)
    assert "pk" not in str(told)


def test_a_failure_that_milvus_calls_passing_is_unavailable():
    told = translated(MilvusError(1, retriable=True), name="faces", timeout_s=3)
    assert type(told) is UnavailableError


def test_numbers_of_a_clock_ascend_and_are_the_callers_own():
    clock, taken = Clock(1.0), []

    def take():
        for _ in range(200):
            first = clock.take(5)
            taken.extend(range(first, first + 5))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(taken)) == 4000
    assert clock.now() >= max(taken)
    assert clock.take(1) > max(taken)


def test_a_clock_follows_another_that_is_a_little_ahead_and_none_far_ahead():
    clock = Clock(5.0)
    ahead = time.time_ns() // 1000 + 2_000_000
    clock.meet(ahead)
    assert clock.take(1) == ahead + 1
    with pytest.raises(UnavailableError):
        clock.meet(ahead + 60_000_000)
    assert clock.take(1) == ahead + 2


def test_names_have_one_spelling_each():
    names = ["a-b", "a_b", "ab", "requests", "x", "X".lower(), "-", "_", "a--b"]
    assert len({stored_name(name) for name in names}) == len(set(names))
    for name in names:
        assert public_name(stored_name(name)) == name
        assert stored_name(name).isidentifier()
    assert public_name("kokeshi_REQUESTS") is None
    assert public_name("other") is None


def test_a_layout_comes_back_from_its_properties():
    made = layout(metric="l2", index="flat")
    (encoded,) = made.properties().values()
    assert read_layout(encoded, made.spec.name) == made


@pytest.mark.parametrize("encoded", [None, "", "{", "{}", "[]", '{"format": 1}'])
def test_a_collection_that_kokeshi_did_not_make_is_not_served(encoded):
    with pytest.raises(UnavailableError, match="not made by kokeshi"):
        read_layout(encoded, "faces")


def test_a_collection_of_a_newer_version_is_not_served():
    with pytest.raises(UnavailableError, match="newer version"):
        read_layout('{"format": 2}', "faces")


@pytest.mark.parametrize(
    ("settings", "prefix"),
    [
        ({}, 64),
        ({"graph_dimension": 16}, 16),
        ({"dimensions": (256,)}, None),
        ({"dimensions": (16, 256)}, None),
        ({"graph_dimension": 256}, None),
    ],
)
def test_the_indexed_prefix_is_the_shortest_that_makes_a_good_shortlist(settings, prefix):
    assert layout(**settings).prefix == prefix


@pytest.mark.parametrize("settings", [{"metric": "hyperbolic"}, {"index": "panorama"}])
def test_what_milvus_cannot_hold_is_said(settings):
    with pytest.raises(UnimplementedError):
        layout(**settings)


def test_indexes_are_one_per_field_of_vectors():
    def kinds(**settings):
        found = indexes_of(layout(**settings), links=32, ef_construction=128)
        return {index["field_name"]: index["index_type"] for index in found}

    assert kinds().items() >= {"prefix": "HNSW", "full": "FLAT"}.items()
    assert kinds(index="flat").items() >= {"prefix": "FLAT", "full": "FLAT"}.items()
    assert kinds(dimensions=(256,))["full"] == "HNSW"
    assert "prefix" not in kinds(dimensions=(256,))


def test_keys_of_texts_that_join_alike_differ():
    pairs = [("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", "")]
    keys = {digest(*pair) for pair in pairs}
    assert len(keys) == 4
    assert all(len(key) == 32 and key.isascii() and '"' not in key for key in keys)
    assert keys_of("ab", ["c"]) == [digest("ab", "c")]


def test_prefixes_are_at_unit_norm_or_zero_under_cosine_and_as_given_under_others():
    vectors = np.random.default_rng(0).standard_normal((3, 256)).astype(np.float32)
    vectors[1, :64] = 0
    cut = prefixes(layout(), vectors)
    np.testing.assert_allclose(np.linalg.norm(cut, axis=1), [1, 0, 1], atol=1e-6)
    np.testing.assert_array_equal(prefixes(layout(metric="ip"), vectors), vectors[:, :64])


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_a_vector_whose_norm_milvus_cannot_compute_is_refused(scale):
    vectors = np.full((1, 256), scale, np.float32)
    with pytest.raises(InvalidRequestError, match="'a'"):
        rows_of(layout(), [Item("a", vectors[0])], vectors, [b"{}"], tenant="", first_seq=1)


def test_a_batch_is_told_from_every_other():
    items = [Item("a", None, {}), Item("b", None, {})]
    vectors = np.ones((2, 4), np.float32)
    prints = {
        fingerprint(items, vectors, [b"{}", b"{}"]),
        fingerprint(items, vectors, [b"{}", b'{"a":1}']),
        fingerprint(items, vectors * 2, [b"{}", b"{}"]),
        fingerprint(items[::-1], vectors, [b"{}", b"{}"]),
        fingerprint(items[:1], vectors[:1], [b"{}"]),
        fingerprint([replace(items[0], origin=SPACE), items[1]], vectors, [b"{}", b"{}"]),
    }
    assert len(prints) == 6


@pytest.mark.parametrize("tenant", ["", "t", '" or true or "', "é" * 256])
def test_every_expression_begins_with_the_tenant_and_holds_nothing_of_its_name(tenant):
    for asked in (None, Equals("a", 1), Within("a", 0, 0, 1), And(())):
        where = Where.of(tenant, asked)
        assert where.expression.startswith(f'tenant == "{tenant_key(tenant)}"')
        assert where.narrowed("seq > 1").startswith(f'tenant == "{tenant_key(tenant)}" and ')
        assert '" or true' not in where.expression


def test_a_row_is_checked_again_whatever_milvus_says():
    where = Where.of("t", Equals("colour", "red"))
    row = {"tenant": tenant_key("t"), "id": "a", "origin": "", "metadata": {"colour": "red"}}
    assert where.fits(row)
    assert not where.fits({**row, "metadata": {"colour": "blue"}})
    assert not where.fits({**row, "tenant": tenant_key("u")})

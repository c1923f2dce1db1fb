"""A Milvus server that is killed, gone, slow or strange."""

import socket
import time

import pytest
from batches import BATCH, BATCH_DIM, Writing, batch_of, check_batches
from contract import SPACE, ids, items_of, one, vectors_of
from contract_stores import LiteServer, skip_without_milvus

from kokeshi.errors import (
    CollectionNotFoundError,
    DeadlineError,
    KokeshiError,
    UnavailableError,
)
from kokeshi.index import CollectionSpec, SearchParams
from kokeshi.index.milvus import MilvusStore

DIM = BATCH_DIM
SPEC = CollectionSpec("faces", SPACE, DIM, dimensions=(8, DIM), graph_dimension=8)
ROUNDS = 3


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    skip_without_milvus()
    started = LiteServer(tmp_path_factory.mktemp("faults") / "milvus")
    started.start()
    yield started
    started.kill()


@pytest.fixture
def store(server):
    with MilvusStore(server.uri, retry_s=20) as opened:
        yield opened
        for info in opened.collections():
            opened.drop(info.spec.name)


def test_what_was_acknowledged_survives_kills_in_the_middle_of_batches(server, store):
    store.create(SPEC)
    writing = Writing(store)
    for number in range(1, ROUNDS + 1):
        writing.wait_for(8 * number)
        server.kill()
        time.sleep(0.2)
        server.start()
    writing.wait_for(8 * ROUNDS + 8)
    writing.end()
    check_batches(store, writing.receipts)
    # a batch that failed is written by its retry, once
    for number in writing.failed:
        store.upsert("faces", batch_of(number), space=SPACE, request_id=f"r{number}")
    everything = [*writing.receipts, *writing.failed]
    check_batches(store, everything)
    assert store.count("faces") == BATCH * len(everything)
    query = vectors_of(1, DIM, 3)
    found = store.search("faces", query, SearchParams(k=1, exact=True), space=SPACE)
    assert ids(found.hits[0]) == ["3.0"]


def test_a_retry_after_a_kill_returns_the_first_receipt(server, store):
    store.create(SPEC)
    first = store.upsert("faces", batch_of(1), space=SPACE, request_id="r")
    server.kill()
    server.start()
    assert store.upsert("faces", batch_of(1), space=SPACE, request_id="r") == first
    with MilvusStore(server.uri) as other:
        assert other.upsert("faces", batch_of(1), space=SPACE, request_id="r") == first
        assert other.describe("faces").spec == store.describe("faces").spec == SPEC


def test_deletes_survive_a_kill(server, store):
    store.create(SPEC)
    store.upsert("faces", batch_of(1), space=SPACE)
    gone = [f"1.{place}" for place in range(0, 50, 2)]
    assert store.delete("faces", gone).count == 25
    server.kill()
    server.start()
    assert store.count("faces") == 25
    for params in (SearchParams(k=50), SearchParams(k=50, exact=True)):
        found = store.search("faces", vectors_of(1, DIM), params, space=SPACE)
        assert set(gone).isdisjoint(ids(found.hits[0]))


def test_a_collection_that_was_half_made_is_finished_by_the_next_call(server, store):
    store.create(SPEC)
    client = store._client._client()
    client.release_collection("kokeshi_faces")
    client.drop_index("kokeshi_faces", "prefix")
    store.upsert("faces", batch_of(1), space=SPACE)
    assert store.count("faces") == 50
    found = store.search("faces", vectors_of(1, DIM, 1), SearchParams(k=1), space=SPACE)
    assert ids(found.hits[0]) == ["1.0"]


def test_two_gateways_share_their_collections(server, store):
    with MilvusStore(server.uri) as other:
        store.create(SPEC)
        receipt = other.upsert("faces", items_of(vectors_of(5, DIM)), space=SPACE)
        params = SearchParams(k=1, min_seq=receipt.seq)
        found = store.search("faces", vectors_of(1, DIM), params, space=SPACE)
        assert ids(found.hits[0]) == ["id0"]
        assert [info.spec for info in other.collections()] == [SPEC]
        store.drop("faces")
        with pytest.raises(CollectionNotFoundError, match="faces"):
            other.count("faces")
        store.create(CollectionSpec("faces", SPACE, 4))
        with pytest.raises(KokeshiError):
            other.upsert("faces", [one(dim=DIM)], space=SPACE)
        other.upsert("faces", [one(dim=4)], space=SPACE)
        assert store.count("faces") == 1


def test_collections_of_others_are_neither_listed_nor_touched(server, store):
    store.create(SPEC)
    client = store._client._client()
    client.create_collection("theirs", dimension=4)
    client.create_collection("kokeshi_theirs", dimension=4)
    assert [info.spec.name for info in store.collections()] == ["faces"]
    with pytest.raises(UnavailableError, match="'theirs' was not made by kokeshi"):
        store.count("theirs")
    client.drop_collection("theirs")
    client.drop_collection("kokeshi_theirs")


def test_a_server_that_is_gone_is_unavailable_at_once_when_told_not_to_retry(server):
    with MilvusStore(server.uri, retry_s=0, timeout_s=5) as store:
        store.create(SPEC)
        server.kill()
        calls = [
            lambda: store.count("faces"),
            lambda: store.upsert("faces", [one(dim=DIM)], space=SPACE),
            lambda: store.delete("faces", ["a"]),
            lambda: store.search("faces", vectors_of(1, DIM), SearchParams(), space=SPACE),
            store.collections,
            lambda: store.create(CollectionSpec("other", SPACE, DIM)),
        ]
        for call in calls:
            start = time.monotonic()
            with pytest.raises(UnavailableError, match=r"^milvus cannot be reached$"):
                call()
            assert time.monotonic() - start < 3
        server.start()
        time.sleep(1.5)  # the connection's own pause
        store.drop("faces")


def test_a_store_of_a_server_that_was_never_there_can_be_opened():
    skip_without_milvus()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        MilvusStore(f"http://127.0.0.1:{port}", retry_s=0) as store,
        pytest.raises(UnavailableError, match=r"^milvus cannot be reached$"),
    ):
        store.collections()


def test_a_server_that_does_not_answer_meets_the_deadline():
    skip_without_milvus()
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        uri = f"http://127.0.0.1:{mute.getsockname()[1]}"
        start = time.monotonic()
        with (
            MilvusStore(uri, timeout_s=1, retry_s=0) as store,
            pytest.raises((DeadlineError, UnavailableError)) as told,
        ):
            store.collections()
        assert time.monotonic() - start < 5
        assert str(mute.getsockname()[1]) not in str(told.value)


def test_a_closed_store_is_unavailable(server):
    store = MilvusStore(server.uri)
    assert store.collections() == []
    store.close()
    store.close()
    with pytest.raises(UnavailableError, match="closed"):
        store.count("faces")

"""Qdrant behind its gRPC, killed, gone, slow or strange."""

import time

import pytest
from batches import BATCH, BATCH_DIM, Writing, batch_of, check_batches
from contract import SPACE, ids, items_of, one, vectors_of
from qdrant_stand_in import StandIn, skip_without_qdrant

from kokeshi.errors import (
    AlreadyExistsError,
    CollectionNotFoundError,
    DeadlineError,
    SetupError,
    UnavailableError,
)
from kokeshi.index import CollectionSpec, SearchParams
from kokeshi.index.qdrant import QdrantStore

DIM = BATCH_DIM
SPEC = CollectionSpec("faces", SPACE, DIM, dimensions=(8, DIM), graph_dimension=8)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    skip_without_qdrant()
    started = StandIn(tmp_path_factory.mktemp("faults") / "qdrant")
    started.start()
    yield started
    started.kill()


@pytest.fixture
def store(server):
    with QdrantStore(**server.settings, retry_s=20) as opened:
        yield opened
        for info in opened.collections():
            opened.drop(info.spec.name)


def test_nothing_acknowledged_is_lost_when_it_is_killed_and_retries_store_once(server, store):
    store.create(SPEC)
    writing = Writing(store)
    for kills in range(1, 3):
        writing.wait_for(4 * kills)
        server.kill()
        server.start()
    writing.wait_for(10)
    writing.end()
    check_batches(store, writing.receipts)
    for number in range(1, writing.number + 1):
        receipt = store.upsert("faces", batch_of(number), space=SPACE, request_id=f"r{number}")
        assert receipt == writing.receipts.get(number, receipt)
    seen = check_batches(store, range(1, writing.number + 1))
    assert len(seen) == BATCH * writing.number


def test_a_server_that_is_gone_is_unavailable_and_comes_back(server, store):
    store.create(SPEC)
    store.upsert("faces", [one("a", DIM)], space=SPACE)
    with QdrantStore(**server.settings, retry_s=0.2) as impatient:
        assert impatient.count("faces") == 1
        server.kill()
        try:
            for call in (
                lambda: impatient.count("faces"),
                lambda: impatient.upsert("faces", [one("b", DIM)], space=SPACE),
                lambda: impatient.search("faces", vectors_of(1, DIM), SearchParams(), space=SPACE),
            ):
                with pytest.raises(UnavailableError, match="qdrant cannot be reached"):
                    call()
        finally:
            server.start()
    hits = store.search("faces", vectors_of(1, DIM), SearchParams(), space=SPACE).hits[0]
    assert ids(hits) == ["a"]


def test_a_server_that_does_not_answer_meets_the_deadline(server, store):
    store.create(SPEC)
    with QdrantStore(**server.settings, timeout_s=1, retry_s=1) as hasty:
        assert hasty.count("faces") == 0
        server.pause()
        try:
            started = time.monotonic()
            with pytest.raises(DeadlineError, match="within 1 s"):
                hasty.count("faces")
            assert time.monotonic() - started < 5
        finally:
            server.go_on()


def test_another_gateway_finds_collections_requests_and_numbers(server, store):
    store.create(SPEC)
    first = store.upsert("faces", items_of(vectors_of(5, DIM)), space=SPACE, request_id="r")
    with QdrantStore(**server.settings) as other:
        assert other.describe("faces").spec == SPEC
        assert other.ensure(SPEC).count == 5
        with pytest.raises(AlreadyExistsError):
            other.create(SPEC)
        items = items_of(vectors_of(5, DIM))
        assert other.upsert("faces", items, space=SPACE, request_id="r") == first
        params = SearchParams(min_seq=first.seq)
        assert len(other.search("faces", vectors_of(1, DIM), params, space=SPACE).hits[0]) == 5
        other.drop("faces")
    with pytest.raises(CollectionNotFoundError):
        store.count("faces")


def test_a_gateway_that_was_killed_before_the_indexes_leaves_them_to_the_next(store):
    from qdrant_client import QdrantClient

    store.create(SPEC)
    store.upsert("faces", items_of(vectors_of(5, DIM)), space=SPACE)
    made = []
    real = QdrantClient.create_payload_index
    try:
        QdrantClient.create_payload_index = lambda self, **asked: made.append(asked["field_name"])
        layout = store._catalogue.layout("faces")
        assert made == []
        store._catalogue.complete(layout, {"seq": None})
    finally:
        QdrantClient.create_payload_index = real
    assert made == ["tenant"]


def test_a_collection_that_kokeshi_did_not_make_is_left_out_and_alone(server, store):
    from qdrant_client import QdrantClient, models

    client = QdrantClient(
        server.settings["url"], grpc_port=server.port, prefer_grpc=True, check_compatibility=False
    )
    vectors = models.VectorParams(size=4, distance=models.Distance.DOT)
    for name in ("theirs", "kokeshi_theirs"):
        client.create_collection(name, vectors)
    try:
        store.create(SPEC)
        assert [info.spec.name for info in store.collections()] == ["faces"]
        with pytest.raises(UnavailableError, match="was not made by kokeshi"):
            store.count("theirs")
    finally:
        for name in ("theirs", "kokeshi_theirs"):
            client.delete_collection(name)
        client.close()


def test_a_closed_store_says_so(server):
    opened = QdrantStore(**server.settings)
    opened.close()
    with pytest.raises(UnavailableError, match="closed"):
        opened.collections()


# its client forgets to close the file of the lock that it did not get
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_local_engine_keeps_what_it_was_given_and_takes_one_process(tmp_path):
    skip_without_qdrant()
    vectors = vectors_of(30, DIM) * 3
    with QdrantStore(path=tmp_path / "data") as store:
        store.create(SPEC)
        store.upsert("faces", items_of(vectors), space=SPACE)
        with (
            pytest.raises(SetupError, match="cannot use"),
            QdrantStore(path=tmp_path / "data") as second,
        ):
            second.collections()
    with QdrantStore(path=tmp_path / "data") as store:
        (item,) = store.get("faces", ["id7"], with_vectors=True)
        assert item.vector.tobytes() == vectors[7].tobytes()
        found = store.search("faces", vectors[7:8], SearchParams(k=1), space=SPACE)
        assert ids(found.hits[0]) == ["id7"]

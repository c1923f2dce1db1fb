"""Qdrant behind its gRPC, killed, gone, slow or strange."""

import sys
import threading
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the contract is a package for every store
pytest.register_assert_rewrite("contract")

from contract import SPACE, ids, items_of, one, vectors_of  # noqa: E402
from qdrant_stand_in import StandIn, skip_without_qdrant  # noqa: E402

from kokeshi.errors import (  # noqa: E402
    AlreadyExistsError,
    CollectionNotFoundError,
    DeadlineError,
    KokeshiError,
    SetupError,
    UnavailableError,
)
from kokeshi.index import CollectionSpec, Item, SearchParams  # noqa: E402
from kokeshi.index.qdrant import QdrantStore  # noqa: E402

DIM = 16
SPEC = CollectionSpec("faces", SPACE, DIM, dimensions=(8, DIM), graph_dimension=8)
BATCH = 40


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


def batch_of(number):
    """A batch whose items tell its number, and whose vectors follow from it."""
    return [
        Item(f"{number}.{place}", vector, {"batch": number, "place": place})
        for place, vector in enumerate(vectors_of(BATCH, DIM, number))
    ]


class Writing(threading.Thread):
    """Writes batches with request ids, and notes which were acknowledged."""

    def __init__(self, store):
        super().__init__()
        self._store, self.ended = store, threading.Event()
        self.receipts, self.failed, self.number = {}, [], 0

    def run(self):
        while not self.ended.is_set():
            self.number += 1
            try:
                self.receipts[self.number] = self._store.upsert(
                    "faces", batch_of(self.number), space=SPACE, request_id=f"r{self.number}"
                )
            except KokeshiError:
                self.failed.append(self.number)

    def wait_for(self, batches):
        until = time.monotonic() + 60
        while len(self.receipts) < batches and time.monotonic() < until:
            time.sleep(0.01)
        assert len(self.receipts) >= batches


def check_batches(store, acknowledged):
    """Every acknowledged batch is whole and right; no item is there twice."""
    seen, cursor = {}, None
    while True:
        page = store.scroll("faces", cursor=cursor, limit=1000, with_vectors=True)
        for item in page.items:
            assert item.id not in seen
            seen[item.id] = item
        cursor = page.cursor
        if cursor is None:
            break
    for number in acknowledged:
        for expected in batch_of(number):
            assert seen[expected.id].metadata == expected.metadata
            assert seen[expected.id].vector.tobytes() == expected.vector.tobytes()
    return seen


def test_nothing_acknowledged_is_lost_when_it_is_killed_and_retries_store_once(server, store):
    store.create(SPEC)
    writing = Writing(store)
    writing.start()
    for kills in range(1, 3):
        writing.wait_for(4 * kills)
        server.kill()
        server.start()
    writing.wait_for(10)
    writing.ended.set()
    writing.join()
    check_batches(store, writing.receipts)
    for number in range(1, writing.number + 1):
        receipt = store.upsert("faces", batch_of(number), space=SPACE, request_id=f"r{number}")
        assert receipt == writing.receipts.get(number, receipt)
    seen = check_batches(store, range(1, writing.number + 1))
    assert len(seen) == store.count("faces") == BATCH * writing.number


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

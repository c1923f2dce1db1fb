"""A store at the other end of a socket answers as the store itself."""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from kokeshi.errors import (
    AlreadyExistsError,
    CollectionNotFoundError,
    InvalidRequestError,
    OverloadedError,
    SpaceMismatchError,
    UnavailableError,
)
from kokeshi.index import CollectionSpec, Item, SearchParams
from kokeshi.index.remote import CALLS, RemoteStore, serve_store
from kokeshi.local_calls import Caller, Listener, answer_calls

SPACE = "0123456789abcdef"
HOST = """
import sys
from pathlib import Path
from kokeshi.index import EmbeddedStore
from kokeshi.index.remote import serve_store
store = EmbeddedStore(Path(sys.argv[1]))
serve_store(store, Path(sys.argv[2]))
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder():
    """A socket's path has at most 107 bytes, and pytest's folders are deep."""
    with tempfile.TemporaryDirectory(prefix="kokeshi-test-") as made:
        yield Path(made)


@pytest.fixture
def remote(store, folder):
    listener = serve_store(store, folder / "store")
    opened = RemoteStore(folder / "store")
    yield opened
    opened.close()
    listener.close()


def test_every_call_answers_as_the_store_does(store, remote, items):
    spec = CollectionSpec("faces", SPACE, 4, dimensions=(2, 4))
    assert remote.create(spec) == store.describe("faces") == remote.ensure(spec)
    vectors = np.eye(4, dtype=np.float32)
    receipt = remote.upsert("faces", items(vectors), space=SPACE, request_id="one")
    assert receipt == remote.upsert("faces", items(vectors), space=SPACE, request_id="one")
    params = SearchParams(k=2, with_vectors=True)
    mine = store.search("faces", vectors[:1], params, space=SPACE)
    other = remote.search("faces", vectors[:1], params, space=SPACE)
    assert (mine.seq, mine.dimension, mine.is_exact) == (other.seq, other.dimension, other.is_exact)
    for left, right in zip(mine.hits[0], other.hits[0], strict=True):
        assert (left.id, left.score, left.metadata) == (right.id, right.score, right.metadata)
        np.testing.assert_array_equal(left.vector, right.vector)
    (item,) = remote.get("faces", ["id1"], with_vectors=True)
    np.testing.assert_array_equal(item.vector, vectors[1])
    page = remote.scroll("faces", limit=3)
    assert [item.id for item in page.items] == ["id0", "id1", "id2"]
    rest = remote.scroll("faces", limit=3, cursor=page.cursor)
    assert ([item.id for item in rest.items], rest.cursor) == (["id3"], None)
    assert remote.delete("faces", ["id0", "unknown"]).count == 1
    assert remote.tenants("faces") == store.tenants("faces") == {"": 3}
    assert remote.tenants("faces", limit=0) == {}
    assert remote.collections() == store.collections()
    assert remote.stats().items == 3
    remote.drop("faces")
    assert store.collections() == []


def test_the_protocol_has_no_call_that_is_not_forwarded(store, remote):
    public = {name for name in dir(type(store)) if not name.startswith("_")}
    own = {"close", "wait_idle", "capabilities", "backup", "gpu_lost"}
    assert set(CALLS) == public - own
    assert remote.capabilities == store.capabilities


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (CollectionNotFoundError, lambda remote: remote.describe("absent")),
        (AlreadyExistsError, lambda remote: remote.create(CollectionSpec("faces", SPACE, 16))),
        (InvalidRequestError, lambda remote: remote.delete("faces", [])),
        (
            SpaceMismatchError,
            lambda remote: remote.upsert(
                "faces", [Item("a", np.ones(16, np.float32))], space="f" * 16
            ),
        ),
    ],
)
def test_errors_arrive_as_themselves(store, faces, remote, error, call):
    with pytest.raises(error) as told:
        call(store)
    with pytest.raises(error) as told_remotely:
        call(remote)
    assert type(told.value) is type(told_remotely.value)
    assert str(told.value) == str(told_remotely.value)


def test_an_error_keeps_what_it_carries_and_a_bug_stays_a_bug(folder, caplog):
    def refuse():
        raise OverloadedError("too many", 7.5)

    def break_down():
        raise ZeroDivisionError("a secret")

    listener = Listener(folder / "calls", answer_calls({"refuse": refuse, "break": break_down}))
    call = Caller(folder / "calls", "the other")
    with pytest.raises(OverloadedError, match="too many") as told:
        call("refuse")
    assert told.value.retry_after_s == 7.5
    with pytest.raises(RuntimeError) as bug:
        call("break")
    assert "secret" not in str(bug.value)
    assert "a secret" in caplog.text
    call.close()
    listener.close()


def test_many_threads_write_and_read_at_once(store, remote):
    remote.create(CollectionSpec("faces", SPACE, 8))
    failures = []

    def write(thread):
        try:
            for number in range(20):
                vector = np.full(8, 1 + thread * 20 + number, np.float32)
                remote.upsert("faces", [Item(f"{thread}.{number}", vector)], space=SPACE)
                (item,) = remote.get("faces", [f"{thread}.{number}"], with_vectors=True)
                np.testing.assert_array_equal(item.vector, vector)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert remote.describe("faces").count == 80


def test_what_was_acknowledged_survives_a_killed_process_and_the_store_comes_back(folder):
    def start():
        command = [sys.executable, "-c", HOST, folder / "data", folder / "store"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"open\n"
        return process

    def stop(process):
        process.kill()
        process.communicate()

    first = start()
    remote = RemoteStore(folder / "store")
    remote.create(CollectionSpec("faces", SPACE, 2))
    for number in range(10):
        remote.upsert("faces", [Item(str(number), np.ones(2, np.float32))], space=SPACE)
    stop(first)
    with pytest.raises(UnavailableError):
        remote.collections()
    (folder / "store").unlink()
    second = start()
    assert remote.describe("faces").count == 10
    remote.close()
    stop(second)


def test_closing_ends_every_connection(store, folder):
    listener = serve_store(store, folder / "store")
    remote = RemoteStore(folder / "store")
    remote.collections()
    assert listener.connections == 1
    listener.close()
    with pytest.raises(UnavailableError):
        remote.collections()
    assert not os.path.exists(folder / "store")

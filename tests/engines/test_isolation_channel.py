"""The channel between two processes; here between two threads, which is the same to it."""

import os
import socket
import threading

import numpy as np
import psutil
import pytest

from kokeshi.engines.process import arena
from kokeshi.engines.process.channel import (
    INLINE_BYTES,
    Answering,
    Channel,
    ClosedError,
    RemoteError,
    connect,
    pair,
    serve,
)
from kokeshi.errors import OverloadedError, UnavailableError


def echo(kind, meta, tensors):
    """Answers with what was asked; 1 raises one of ours, 2 a bug."""
    if kind == 1:
        raise OverloadedError("full", 2.5)
    if kind == 2:
        raise ValueError("a bug")
    return meta, tensors


@pytest.fixture
def channel():
    ours, theirs = pair()
    thread = threading.Thread(target=serve, args=(theirs, echo))
    thread.start()
    channel = Channel(ours)
    yield channel
    channel.close()
    thread.join(5)
    assert not thread.is_alive()


STRINGS = np.array([[b"a", b""], [b"\x00\xff", "ö".encode() * 300]], np.object_)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.arange(24).reshape(4, 6).T,
        np.arange(24)[::3],
        np.array(7, np.int16),
        np.zeros((0, 3), np.float64),
        np.array([True, False]),
        np.array([1.5, -2], np.float16),
        STRINGS,
        np.zeros((0, 2), np.object_),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_an_array_comes_back_as_it_went(channel, array):
    _, found = channel.ask(0, b"", {"x": array})
    assert found["x"].dtype == array.dtype
    assert found["x"].shape == array.shape
    assert found["x"].tolist() == array.tolist()


def test_several_tensors_and_some_bytes_go_together(channel):
    tensors = {"a": np.arange(3), "b": STRINGS, "c": np.ones((5, 5), np.uint8)}
    meta, found = channel.ask(0, b"told", tensors)
    assert meta == b"told"
    assert list(found) == ["a", "b", "c"]
    assert all((found[name] == tensors[name]).all() for name in tensors)


def test_strings_of_one_shape_and_other_contents_are_told_apart(channel):
    for text in (b"a", b"bb", b"", b"cc"):
        _, found = channel.ask(0, b"", {"x": np.array([text], np.object_)})
        assert found["x"].tolist() == [text]


def test_bytes_of_any_length_go_with_a_question(channel):
    for length in (INLINE_BYTES, INLINE_BYTES + 1, 3_000_000):
        told = os.urandom(length)
        assert channel.ask(0, told, {"x": np.arange(2)})[0] == told


def test_an_answer_is_memory_of_the_callers_own(channel):
    first = channel.ask(0, b"", {"x": np.zeros(4)})[1]["x"]
    channel.ask(0, b"", {"x": np.ones(4)})
    assert not first.any()
    first[:] = 2  # can be written to


def test_the_arena_grows_to_what_is_sent(channel):
    for size in (1, arena.FIRST_BYTES, 5 * arena.FIRST_BYTES + 3, 10):
        sent = np.random.default_rng(size).integers(0, 256, size, np.uint8)
        assert (channel.ask(0, b"", {"x": sent})[1]["x"] == sent).all()


def test_memory_of_a_large_message_is_given_back(channel, monkeypatch):
    monkeypatch.setattr(arena, "KEEP_BYTES", 1 << 20)
    before = psutil.Process().memory_info().shared
    sent = np.ones(64 << 20, np.uint8)
    assert (channel.ask(0, b"", {"x": sent})[1]["x"] == 1).all()
    assert psutil.Process().memory_info().shared - before < 16 << 20
    assert (channel.ask(0, b"", {"x": sent})[1]["x"] == 1).all()


def test_our_errors_arrive_as_themselves_and_the_channel_goes_on(channel):
    with pytest.raises(OverloadedError, match="full") as raised:
        channel.ask(1, b"", {"x": np.ones(3)})
    assert raised.value.retry_after_s == 2.5
    assert channel.ask(0, b"still")[0] == b"still"


def test_a_bug_arrives_with_its_traceback(channel):
    with pytest.raises(RemoteError, match=r"(?s)Traceback.*in echo.*ValueError: a bug"):
        channel.ask(2)
    assert channel.ask(0, b"still")[0] == b"still"


def test_an_answer_that_cannot_be_sent_is_an_error_and_the_channel_goes_on():
    ours, theirs = pair()
    texts = np.array(["texts are no bytes"], np.object_)
    thread = threading.Thread(
        target=serve, args=(theirs, lambda kind, _, __: (b"ok", {"x": texts} if kind else {}))
    )
    thread.start()
    channel = Channel(ours)
    with pytest.raises(RemoteError, match="TypeError"):
        channel.ask(1)
    assert channel.ask(0)[0] == b"ok"
    channel.close()
    thread.join(5)


def test_more_tensors_than_a_message_can_name_are_refused(channel):
    with pytest.raises(ValueError, match="3000 tensors are too many"):
        channel.ask(0, b"", {f"tensor {number}": np.ones(1) for number in range(3000)})


def test_notes_are_heard_before_the_answer_and_never_after_it():
    ours, theirs = pair()
    answering = Answering(theirs)

    def answer(kind, meta, tensors):
        for number in range(kind):
            answering.note(bytes([number]))
        return b"done", {}

    thread = threading.Thread(target=answering.serve, args=(answer,))
    thread.start()
    channel = Channel(ours)
    heard = []
    assert channel.ask(3, heard=heard.append)[0] == b"done"
    answering.note(b"too late")
    assert channel.ask(1)[0] == b"done"  # with nobody to hear it
    assert heard == [b"\x00", b"\x01", b"\x02"]
    channel.close()
    thread.join(5)


def test_who_asks_learns_at_once_that_the_other_end_is_gone():
    ours, theirs = pair()
    channel = Channel(ours)
    failed = []

    def ask():
        with pytest.raises(ClosedError) as raised:
            channel.ask(0)
        failed.append(raised.value)

    thread = threading.Thread(target=ask)
    thread.start()
    theirs.close()
    thread.join(5)
    assert isinstance(failed[0], UnavailableError)
    with pytest.raises(ClosedError):
        channel.ask(0)
    channel.close()


def test_who_waits_is_freed_when_its_own_end_hangs_up():
    ours, theirs = pair()
    channel = Channel(ours)
    timer = threading.Timer(0.1, channel.hang_up)
    timer.start()
    with pytest.raises(ClosedError):
        channel.ask(0)
    timer.join()
    channel.close()
    theirs.close()


def test_an_interrupted_question_leaves_no_answer_to_the_next(channel):
    def interrupt(note):
        raise KeyboardInterrupt

    ours, theirs = pair()
    answering = Answering(theirs)

    def answer(kind, meta, tensors):
        answering.note(b"")
        return b"late", {}

    thread = threading.Thread(target=answering.serve, args=(answer,))
    thread.start()
    interrupted = Channel(ours)
    with pytest.raises(KeyboardInterrupt):
        interrupted.ask(0, heard=interrupt)
    with pytest.raises(ClosedError):
        interrupted.ask(0)
    interrupted.close()
    thread.join(5)


def test_many_connections_are_served_behind_one_path(tmp_path):
    path = str(tmp_path / "socket")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(path)
    listening.listen(4)
    threads = []

    def accept():
        for _ in range(4):
            connection, _ = listening.accept()
            threads.append(threading.Thread(target=serve, args=(connection, echo)))
            threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    channels = [connect(path) for _ in range(4)]
    acceptor.join(5)
    for number, channel in enumerate(channels):
        assert channel.ask(0, b"", {"x": np.array([number])})[1]["x"].tolist() == [number]
    for channel in channels:
        channel.close()
    for thread in threads:
        thread.join(5)
    listening.close()
    with pytest.raises(ConnectionRefusedError):
        connect(path)


def test_what_is_no_channel_is_not_served():
    ours, theirs = pair()
    thread = threading.Thread(target=serve, args=(theirs, echo))
    thread.start()
    ours.send(b"GET / HTTP/1.1")
    thread.join(5)
    assert not thread.is_alive()
    ours.close()


def test_descriptors_are_closed_with_the_channel():
    before = psutil.Process().num_fds()
    for _ in range(20):
        ours, theirs = pair()
        thread = threading.Thread(target=serve, args=(theirs, echo))
        thread.start()
        channel = Channel(ours)
        channel.ask(0, b"", {"x": np.ones(2 * arena.FIRST_BYTES)})
        channel.close()
        thread.join(5)
    assert psutil.Process().num_fds() == before

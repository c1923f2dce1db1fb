"""Questions and answers between two processes: short messages on a socket, tensors in memory.

A connection is a Unix socket that keeps the borders of messages (SOCK_SEQPACKET) and one arena. It
carries one question at a time: the thread that asks writes its tensors into the arena, sends some
bytes, blocks until some come back, and copies the answer out. Who asks several things at once has
several connections; each is served by a thread of its own.
"""

import pickle
import socket
import struct
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kokeshi.engines.process.arena import Arena
from kokeshi.errors import KokeshiError, UnavailableError

Tensors = Mapping[str, NDArray[Any]]
Reply = tuple[bytes, Tensors]
Handler = Callable[[int, bytes, Tensors], Reply]

INLINE_BYTES: Final = 16 << 10  # of a message's `meta`; longer ones travel in the arena
_MESSAGE_BYTES: Final = 64 << 10  # the longest; the kernel takes 200 KiB
_HEADER: Final = struct.Struct("<III")  # kind or status, lengths of layout and meta
_ANSWER, _ERROR, _NOTE = range(3)
_META: Final = ""  # the name of a `meta` that travels in the arena
_HELLO: Final = b"kokeshi"
_NOTHING: Final[Tensors] = {}


class ClosedError(UnavailableError):
    """The process at the other end is gone, or does not answer any more."""


class RemoteError(Exception):
    """A bug or a failed graph in the other process; the text holds its traceback."""


def connect(path: str) -> "Channel":
    """A channel to whoever serves a Unix socket of the kind SOCK_SEQPACKET.

    Raises:
        OSError: nobody does.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(path)
        return Channel(connection)
    except BaseException:
        connection.close()
        raise


def pair() -> tuple[socket.socket, socket.socket]:
    """A connection whose ends may go to two processes: one to a `Channel`, one to `serve`."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Channel:
    """The end that asks; for one thread at a time.

    Args:
        connection: the other end of it is served; closed with the channel.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._arena = Arena.new()
        self._buffer = bytearray(_MESSAGE_BYTES)
        self._view = memoryview(self._buffer)
        try:
            socket.send_fds(connection, [_HELLO], [self._arena.fd])
        except OSError as error:
            self._arena.close()
            raise ClosedError("the process behind it is gone") from error

    def ask(
        self,
        kind: int,
        meta: bytes = b"",
        tensors: Tensors = _NOTHING,
        heard: Callable[[bytes], None] | None = None,
    ) -> tuple[bytes, dict[str, NDArray[Any]]]:
        """Asks, and blocks until the answer is there.

        Args:
            kind: what is asked, as both ends have agreed.
            meta: goes with it.
            tensors: by name; object arrays are of bytes.
            heard: gets what the other end notes on the way to its answer.

        Returns:
            The answer's `meta`, and its tensors in memory of the caller's own.

        Raises:
            ClosedError: the other end is gone; the channel is of no use any more.
            KokeshiError: the other end raised it.
            RemoteError: the other end raised anything else.
        """
        if self._socket.fileno() < 0:
            raise ClosedError("the connection was closed")
        try:
            status, told, found = self._ask(kind, meta, tensors, heard)
        except BaseException:
            self._socket.close()  # nobody may get the answer to another's question
            raise
        if status == _ERROR:
            raise _error_of(told)
        return told, found

    def _ask(
        self, kind: int, meta: bytes, tensors: Tensors, heard: Callable[[bytes], None] | None
    ) -> tuple[int, bytes, dict[str, NDArray[Any]]]:
        arena = self._arena
        end = _send(self._socket, arena, kind, meta, tensors, 0)
        while True:
            status, layout, told = _receive(self._socket, self._view)
            if status != _NOTE:
                break
            if heard is not None:
                heard(told)
        places = arena.layout_of(layout)
        found = arena.read(places, copy=True)
        if _META in found:
            told = found.pop(_META).tobytes()
        arena.shrink(max(end, places.end))
        return status, told, found

    def hang_up(self) -> None:
        """Ends the connection; the other end sees it, and a thread that asks. From any thread."""
        with suppress(OSError):  # it was closed
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Ends the connection, and gives its memory back. No thread may be asking."""
        self._socket.close()
        self._arena.close()


class Answering:
    """The end that answers.

    Args:
        connection: the other end is a `Channel`; closed when that is.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._notes = threading.Lock()  # of what is noted, none comes after the answer
        self._asked = False

    def serve(self, handler: Handler) -> None:
        """Answers until the other end is closed; blocks.

        Args:
            handler: gets kind, meta and tensors, which are views that hold until it returns; gives
                meta and tensors of the answer. What it raises is raised where it was asked.
        """
        with self._socket, suppress(ClosedError):
            hello, fds, _, _ = socket.recv_fds(self._socket, len(_HELLO), 1)
            if hello != _HELLO or len(fds) != 1:
                raise ClosedError("the other end says no hello")
            arena = Arena(fds[0])
            try:
                self._serve(handler, arena)
            finally:
                arena.close()

    def _serve(self, handler: Handler, arena: Arena) -> None:
        view = memoryview(bytearray(_MESSAGE_BYTES))
        while True:
            kind, layout, meta = _receive(self._socket, view)
            self._asked = True
            status, told, tensors, end = self._answer(handler, arena, kind, layout, meta)
            with self._notes:
                self._asked = False
                self._send(arena, status, told, tensors, end)
            del tensors  # or memory would be held while nothing is asked

    def _send(self, arena: Arena, status: int, told: bytes, tensors: Tensors, start: int) -> None:
        try:
            _send(self._socket, arena, status, told, tensors, start)
        except ClosedError:
            raise
        except Exception as error:  # what the handler gave cannot be sent; nothing was
            _send(self._socket, arena, _ERROR, _error_as(error), _NOTHING, start)

    def _answer(
        self, handler: Handler, arena: Arena, kind: int, layout: bytes, meta: bytes
    ) -> tuple[int, bytes, Tensors, int]:
        places = arena.layout_of(layout)
        tensors = arena.read(places, copy=False)
        if _META in tensors:
            meta = tensors.pop(_META).tobytes()
        try:
            return _ANSWER, *handler(kind, meta, tensors), places.end
        except Exception as error:
            return _ERROR, _error_as(error), _NOTHING, places.end

    def note(self, meta: bytes) -> None:
        """Tells the one who waits for an answer something before it; from any thread."""
        with self._notes:
            if self._asked:
                self._socket.send(_HEADER.pack(_NOTE, 0, len(meta)) + meta)


def serve(connection: socket.socket, handler: Handler) -> None:
    """Answers what is asked on a connection, until its other end is closed; blocks."""
    Answering(connection).serve(handler)


def _send(
    connection: socket.socket, arena: Arena, kind: int, meta: bytes, tensors: Tensors, start: int
) -> int:
    """Sends a message whose tensors begin at an offset of the arena; returns where they end."""
    if len(meta) > INLINE_BYTES:
        tensors, meta = {**tensors, _META: np.frombuffer(meta, np.uint8)}, b""
    layout = arena.write(tensors, start)
    message = _HEADER.pack(kind, len(layout.encoded), len(meta)) + layout.encoded + meta
    if len(message) > _MESSAGE_BYTES:
        raise ValueError(f"{len(tensors)} tensors are too many for one message")
    try:
        connection.send(message)
    except OSError as error:
        raise ClosedError("the process behind it is gone") from error
    return layout.end


def _receive(connection: socket.socket, view: memoryview) -> tuple[int, bytes, bytes]:
    """Kind, encoded layout and meta of the next message."""
    try:
        size = connection.recv_into(view)
    except OSError as error:
        raise ClosedError("the process behind it is gone") from error
    if not size:
        raise ClosedError("the process behind it is gone")
    kind, layout_bytes, _ = _HEADER.unpack_from(view)
    border = _HEADER.size + layout_bytes
    return kind, bytes(view[_HEADER.size : border]), bytes(view[border:size])


def _error_as(error: Exception) -> bytes:
    """Pickled: both ends are parts of one server, and errors are few."""
    if not isinstance(error, KokeshiError):
        error = RemoteError("".join(traceback.format_exception(error)).rstrip())
    return pickle.dumps(error.with_traceback(None))


def _error_of(data: bytes) -> Exception:
    error = pickle.loads(data)
    return error if isinstance(error, Exception) else RemoteError(repr(error))

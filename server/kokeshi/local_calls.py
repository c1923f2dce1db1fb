"""Calls from one process of a server to another, over a Unix socket.

For what is seldom or slow by nature. Arguments, answers and errors are pickled, so whoever can
write to the socket can run code: it lies in a folder that its user alone may enter.
"""

import logging
import pickle
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from kokeshi.errors import KokeshiError, UnavailableError

logger = logging.getLogger(__name__)
RETRY_S: Final = 0.1

BACKLOG: Final = 512
_LENGTH: Final = struct.Struct("<Q")
_PROTOCOL: Final = pickle.HIGHEST_PROTOCOL


def send(connection: socket.socket, message: Any) -> None:  # noqa: ANN401 - whatever pickles
    """Sends one message; only one thread may at a time.

    Raises:
        OSError: the other end is gone, and got no whole message.
    """
    data = pickle.dumps(message, _PROTOCOL)
    connection.sendall(_LENGTH.pack(len(data)))
    connection.sendall(data)


def receive(connection: socket.socket) -> Any:  # noqa: ANN401 - whatever was sent
    """Waits for one message; only one thread may at a time.

    Raises:
        EOFError: the other end is gone.
        OSError: the same.
    """
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    return pickle.loads(_exactly(connection, length))


def _exactly(connection: socket.socket, length: int) -> bytearray:
    data = bytearray(length)
    rest = memoryview(data)
    while rest:
        count = connection.recv_into(rest)
        if not count:
            raise EOFError
        rest = rest[count:]
    return data


class Listener:
    """Takes connections to a socket and gives each a thread.

    Args:
        path: of the socket; it must not exist.
        serve: called with each connection on its thread; the connection ends when it returns.
        kind: of the socket.
    """

    def __init__(
        self,
        path: Path,
        serve: Callable[[socket.socket], None],
        kind: socket.SocketKind = socket.SOCK_STREAM,
    ) -> None:
        self._serve = serve
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._closing = False
        self._path = path
        self._listening = socket.socket(socket.AF_UNIX, kind)
        self._listening.bind(str(path))
        self._listening.listen(BACKLOG)
        self._thread = threading.Thread(target=self._accept, name=path.name, daemon=True)
        self._thread.start()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    def close(self) -> None:
        """Takes no more connections and ends those that are open."""
        with self._lock:
            self._closing = True
            for connection in (self._listening, *self._open):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits on it
        self._thread.join()
        self._listening.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError as error:
                if self._closing:
                    return
                logger.error("no connection can be taken: %s", error)
                time.sleep(RETRY_S)  # a descriptor may be free soon
                continue
            with self._lock:
                if self._closing:
                    connection.close()
                    return
                self._open.add(connection)
            name = self._thread.name
            threading.Thread(target=self._run, args=(connection,), name=name, daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        try:
            self._serve(connection)
        except (EOFError, OSError):
            pass  # the other end is gone
        except Exception:
            logger.exception("a connection of another process failed")
        finally:
            with self._lock:
                self._open.discard(connection)
                connection.close()


def answer_calls(handlers: Mapping[str, Callable[..., Any]]) -> Callable[[socket.socket], None]:
    """What a `Listener` does with a connection of a `Caller`.

    Args:
        handlers: by the name of the call; called from many threads.
    """

    def serve(connection: socket.socket) -> None:
        while True:
            name, args, kwargs = receive(connection)
            send(connection, _outcome(handlers[name], name, args, kwargs))

    return serve


def _outcome(
    handler: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[bool, Any]:
    try:
        return True, handler(*args, **kwargs)
    except KokeshiError as error:
        return False, error
    except Exception:
        logger.exception("the call %s of another process failed", name)
        return False, RuntimeError(f"the call {name} failed in the process that answers it")


class Caller:
    """Calls what a `Listener` answers; any thread may.

    Args:
        path: of its socket.
        other: what is there, for messages.
    """

    def __init__(self, path: Path, other: str) -> None:
        self._path = str(path)
        self._other = other
        self._idle: list[socket.socket] = []

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever was called returns
        """Calls by name, and returns or raises as the other end did.

        Raises:
            UnavailableError: the other process is gone; where it had the call already, nobody knows
                whether it was done.
        """
        connection = self._delivered((name, args, kwargs))
        try:
            is_answer, outcome = receive(connection)
        except (EOFError, OSError):
            connection.close()
            raise UnavailableError(f"{self._other} went away before it answered") from None
        self._idle.append(connection)
        if is_answer:
            return outcome
        raise outcome

    def close(self) -> None:
        """Ends the connections that are idle."""
        while self._idle:
            self._idle.pop().close()

    def _delivered(self, call: tuple[str, tuple[Any, ...], dict[str, Any]]) -> socket.socket:
        """A connection that took the whole call. One from before a restart takes none of it."""
        while self._idle:
            with suppress(IndexError):  # another thread had the last
                connection = self._idle.pop()
                try:
                    send(connection, call)
                except OSError:
                    connection.close()
                else:
                    return connection
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(self._path)
            send(connection, call)
        except OSError:
            connection.close()
            raise UnavailableError(f"{self._other} is not there; it is being started") from None
        return connection

"""Calls of qdrant-client with a deadline each, made again where that is safe."""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from kokeshi.errors import KokeshiError, SetupError, UnavailableError
from kokeshi.index.distributed.telling import GoneError
from kokeshi.index.qdrant.faults import translated

logger = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
MEMORY: Final = ":memory:"
# gRPC would wait up to two minutes before it tries a server again that was gone
_CHANNEL: Final = {
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
}
Raw = Any  # what qdrant-client takes and answers: it is no dependency, so its types are not known


class Client:
    """A connection to a server, or the client's own engine in this process.

    The local engine is no engine of threads: its calls are made one at a time.

    Args:
        url: "http://host:6333", or "https://" for TLS; None where `path` is given.
        grpc_port: of the same host; all calls go there.
        path: directory of the local engine, ":memory:" for none.
        api_key: "" for none.
        timeout_s: deadline of a call, rounded up to a second by the client.
        retry_s: how long a call is repeated while the server cannot be reached.
    """

    def __init__(
        self,
        url: str | None,
        *,
        grpc_port: int,
        path: Path | str | None,
        api_key: str,
        timeout_s: float,
        retry_s: float,
    ) -> None:
        if (url is None) == (path is None):
            raise SetupError("a Qdrant store needs the url of a server or a path, and not both")
        self._url, self._path, self._api_key = url, path, api_key
        self._grpc_port, self._timeout_s, self._retry_s = grpc_port, timeout_s, retry_s
        self._connecting = threading.Lock()
        self._turn = threading.RLock()
        self._connected: Any = None
        self._is_closed = False

    @property
    def is_local(self) -> bool:
        """True where there is no server."""
        return self._path is not None

    def close(self) -> None:
        """Lets go of the connection; later calls raise UnavailableError."""
        with self._connecting, self._turns():
            self._is_closed = True
            if self._connected is not None:
                self._connected.close()
            self._connected = None

    def call(self, method: str, name: str = "", *, is_repeatable: bool = True, **asked: Raw) -> Raw:
        """Calls a method of `qdrant_client.QdrantClient`.

        Args:
            method: its name.
            name: of the collection as users know it, for messages.
            is_repeatable: a second call changes nothing that the first has done. Reads are, and
                writes and deletes of points.
            asked: arguments of the method.

        Raises:
            KokeshiError: as `translated` says.
        """
        until = time.monotonic() + min(self._timeout_s, self._retry_s if is_repeatable else 0.0)
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return self._once(method, name, asked)
            except GoneError:
                if time.monotonic() + pause_s > until:
                    raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _once(self, method: str, name: str, asked: dict[str, Raw]) -> Raw:
        client = self._client()
        with self._turns():
            return self._guarded(lambda: getattr(client, method)(**asked), name)

    @contextlib.contextmanager
    def _turns(self) -> Iterator[None]:
        if self.is_local:
            with self._turn:
                yield
        else:
            yield

    def _guarded(self, work: Callable[[], Any], name: str) -> Raw:
        try:
            return work()
        except KokeshiError:
            raise
        except Exception as error:
            raise translated(error, name=name, timeout_s=self._timeout_s) from error

    def _client(self) -> Raw:
        with self._connecting:
            if self._is_closed:
                raise UnavailableError("the store is closed")
            if self._connected is None:
                self._connected = self._connect()
            return self._connected

    def _connect(self) -> Raw:
        try:
            from qdrant_client import QdrantClient
        except ImportError as error:
            raise SetupError(
                "a Qdrant store needs the package qdrant-client: kokeshi[qdrant]"
            ) from error
        if self._path is not None:
            return _local(QdrantClient, self._path)
        return self._guarded(
            lambda: QdrantClient(
                url=self._url,
                grpc_port=self._grpc_port,
                prefer_grpc=True,
                api_key=self._api_key or None,
                timeout=math.ceil(self._timeout_s),
                grpc_options=dict(_CHANNEL),
                check_compatibility=False,  # it would ask by HTTP, and only warn
            ),
            "",
        )


def _local(client: Callable[..., Raw], path: Path | str) -> Raw:
    if str(path) == MEMORY:
        return client(location=MEMORY)
    try:
        return client(path=str(path), force_disable_check_same_thread=True)
    except (RuntimeError, OSError, ValueError) as error:
        raise SetupError(f"cannot use {path} as Qdrant's own directory: {error}") from error

"""Calls of pymilvus with a deadline each, made again where that is safe."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from kokeshi.errors import SetupError, UnavailableError
from kokeshi.index.distributed.telling import GoneError
from kokeshi.index.milvus.faults import NotLoadedError, translated

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
# gRPC would wait up to two minutes before it tries a server again that was gone
_CHANNEL: Final = {
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
}
STRONG: Final = "Strong"
Raw = Any  # what pymilvus answers; it has no types


class Client:
    """A connection that is made at the first call and again whenever it was lost.

    Args:
        uri: "http://host:port", or "https://" for TLS.
        token: "user:password" or an API key; "" for none.
        database: of the server; "" is its default one.
        timeout_s: deadline of a call, retries included.
        retry_s: how long a call is repeated while the server cannot be reached.
    """

    def __init__(
        self, uri: str, *, token: str, database: str, timeout_s: float, retry_s: float
    ) -> None:
        self._uri, self._token, self._database = uri, token, database
        self._timeout_s, self._retry_s = timeout_s, retry_s
        self._connecting = threading.Lock()
        self._connected: Any = None
        self._is_closed = False
        self._version = ""

    def close(self) -> None:
        """Lets go of the connection; later calls raise UnavailableError."""
        with self._connecting:
            self._is_closed = True
            if self._connected is not None:
                self._connected.close()
            self._connected = None

    def server_version(self) -> str:
        """What the server calls itself; asked once per connection."""
        self._client()
        return self._version

    def call(
        self, method: str, collection: str = "", *, is_repeatable: bool = True, **arguments: Raw
    ) -> Raw:
        """Calls a method of `pymilvus.MilvusClient`.

        Args:
            method: its name.
            collection: the name that users know it by, for messages.
            is_repeatable: a second call changes nothing that the first has done. Reads are, and
                writes and deletes by primary key.
            arguments: of the method.

        Raises:
            KokeshiError: as `translated` says.
            NotLoadedError: the collection must be loaded first.
        """
        until = time.monotonic() + self._timeout_s
        patience = time.monotonic() + (self._retry_s if is_repeatable else 0.0)
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return self._once(method, collection, until, arguments)
            except GoneError:
                if time.monotonic() + pause_s > min(until, patience):
                    raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def load(self, stored: str, indexes: Sequence[Mapping[str, Any]], collection: str = "") -> None:
        """Makes the indexes that a collection lacks and brings it into Milvus's memory.

        Args:
            stored: name in Milvus.
            indexes: arguments of `IndexParams.add_index`; an index is called as its field.
            collection: the name that users know it by.
        """
        from pymilvus import MilvusClient

        there = self.call("list_indexes", collection, collection_name=stored)
        missing = [index for index in indexes if index["field_name"] not in there]
        if missing:
            params = MilvusClient.prepare_index_params()
            for index in missing:
                params.add_index(**index, index_name=index["field_name"])
            # without `sync` it would sleep half a second for each
            self.call(
                "create_index", collection, collection_name=stored, index_params=params, sync=False
            )
        self.call("load_collection", collection, collection_name=stored)

    def pages(self, collection: str, **arguments: Raw) -> Iterator[list[dict[str, Any]]]:
        """All rows that fit an expression, a page at a time, as they stood at the first page.

        Args:
            collection: the name that users know it by.
            arguments: of `MilvusClient.query_iterator`.
        """
        iterator = self.call("query_iterator", collection, **arguments)
        try:
            while True:
                page = self._guarded(iterator.next, collection)
                if not page:
                    return
                yield list(page)
        finally:
            iterator.close()

    def _once(
        self, method: str, collection: str, until: float, arguments: Mapping[str, Raw]
    ) -> Raw:
        client = self._client()
        left_s = max(until - time.monotonic(), 0.001)
        return self._guarded(
            lambda: getattr(client, method)(**arguments, timeout=left_s), collection
        )

    def _guarded(self, work: Callable[[], Any], collection: str) -> Raw:
        try:
            return work()
        except Exception as error:
            told = translated(error, name=collection, timeout_s=self._timeout_s)
            raise told from (None if isinstance(told, NotLoadedError) else error)

    def _client(self) -> Raw:
        with self._connecting:
            if self._is_closed:
                raise UnavailableError("the store is closed")
            if self._connected is None:
                self._connected = self._guarded(self._connect, "")
            return self._connected

    def _connect(self) -> Raw:
        milvus_client = _milvus_client()
        client = milvus_client(
            uri=self._uri,
            token=self._token,
            db_name=self._database,
            timeout=self._timeout_s,
            dedicated=True,
            grpc_options=_CHANNEL,
        )
        self._version = client.get_server_version(timeout=self._timeout_s)
        return client


def _milvus_client() -> Raw:
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise SetupError("a Milvus store needs the package pymilvus: kokeshi[milvus]") from error
    # it logs each error with a traceback and the server's words; here they come as exceptions
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    return MilvusClient

"""Which requests were made already, in a collection of Qdrant that all gateways share."""

import threading
import time
from dataclasses import asdict
from typing import Any, Final

from kokeshi.errors import CollectionNotFoundError, KokeshiError
from kokeshi.index.distributed.requests import DAY_S, Entry
from kokeshi.index.qdrant.client import Client, Raw
from kokeshi.index.qdrant.layout import REQUESTS
from kokeshi.index.qdrant.points import key_of

SWEEP_S: Final = 3600.0


class Journal:
    """Entries are written before a batch and again after it, and forgotten after `kept_s`."""

    def __init__(self, client: Client, kept_s: int = DAY_S) -> None:
        self._client, self._kept_s = client, kept_s
        self._making = threading.Lock()
        self._swept = time.monotonic()

    def find(self, key: str) -> Entry | None:
        """See `kokeshi.index.distributed.requests.Journal`."""
        records = self._call("retrieve", ids=[key_of("", key)], with_payload=True)
        if not records:
            return None
        values = records[0].payload
        return Entry(**{name: values[name] for name in Entry.__dataclass_fields__})

    def note(self, entry: Entry) -> None:
        """See `kokeshi.index.distributed.requests.Journal`."""
        from qdrant_client import models

        payload = {**asdict(entry), "at": int(time.time())}
        point = models.PointStruct(id=key_of("", entry.key), vector={}, payload=payload)
        self._call("upsert", points=[point], wait=True, ordering=models.WriteOrdering.STRONG)
        if time.monotonic() > self._swept + SWEEP_S:
            self._sweep()

    def _sweep(self) -> None:
        from qdrant_client import models

        self._swept = time.monotonic()
        old: Any = {"key": "at", "range": {"lt": time.time() - self._kept_s}}
        self._call("delete", points_selector=models.Filter(must=[old]), wait=False)

    def _call(self, method: str, **asked: Raw) -> Raw:
        try:
            return self._client.call(method, collection_name=REQUESTS, **asked)
        except CollectionNotFoundError:
            self._make()
        return self._client.call(method, collection_name=REQUESTS, **asked)

    def _make(self) -> None:
        with self._making:
            if self._client.call("collection_exists", collection_name=REQUESTS):
                return
            try:
                self._client.call(
                    "create_collection", is_repeatable=False, collection_name=REQUESTS,
                    vectors_config={},
                )  # fmt: skip
            except KokeshiError:  # another gateway was first
                if not self._client.call("collection_exists", collection_name=REQUESTS):
                    raise

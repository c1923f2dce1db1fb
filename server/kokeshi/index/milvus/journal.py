"""Which requests were made already, in a collection of Milvus that all gateways share."""

from dataclasses import dataclass
from typing import Final

from kokeshi.errors import CollectionNotFoundError, InvalidRequestError
from kokeshi.index.milvus.client import STRONG, Client, Raw
from kokeshi.index.milvus.faults import NotLoadedError
from kokeshi.index.milvus.layout import KEY_CHARACTERS, MIN_DIM, REQUESTS, Layout
from kokeshi.index.milvus.rows import digest

DAY_S: Final = 86_400


@dataclass(frozen=True)
class Entry:
    """A request with an id.

    Attributes:
        key: of the request.
        content: fingerprint of its items.
        seq: the first number that its rows got.
        count: rows.
        is_done: they are written.
    """

    key: str
    content: str
    seq: int
    count: int
    is_done: bool


class Journal:
    """Entries are written before a batch and again after it, and forgotten after `kept_s`.

    A retry of a batch that was cut short finds its first entry, and writes the same rows under the
    same numbers.
    """

    def __init__(self, client: Client, kept_s: int = DAY_S) -> None:
        self._client = client
        self._kept_s = kept_s

    def find(self, layout: Layout, tenant: str, request_id: str, content: str) -> Entry | None:
        """The entry of a request that was made before.

        Raises:
            InvalidRequestError: it was made with other items.
        """
        key = self.key(layout, tenant, request_id)
        rows = self._call(
            "query",
            filter=f'key == "{key}"',
            output_fields=["key", "content", "seq", "count", "is_done"],
            limit=1,
            consistency_level=STRONG,
        )
        if not rows:
            return None
        entry = Entry(**{name: rows[0][name] for name in Entry.__dataclass_fields__})
        if entry.content != content:
            raise InvalidRequestError(f"request id {request_id!r} was used with other items")
        return entry

    def note(self, entry: Entry) -> None:
        """Writes an entry in the place of an earlier one."""
        row = {**vars(entry), "nothing": [0.0] * MIN_DIM}
        self._call("upsert", data=[row])

    @staticmethod
    def key(layout: Layout, tenant: str, request_id: str) -> str:
        """Key of a request: one tenant's, in one collection."""
        return digest(layout.name, layout.made, tenant, request_id)

    def _call(self, method: str, **arguments: Raw) -> Raw:
        try:
            return self._client.call(method, collection_name=REQUESTS, **arguments)
        except (NotLoadedError, CollectionNotFoundError):
            self._make_ready()
        return self._client.call(method, collection_name=REQUESTS, **arguments)

    def _make_ready(self) -> None:
        from pymilvus import DataType, MilvusClient

        if not self._client.call("has_collection", collection_name=REQUESTS):
            schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=KEY_CHARACTERS)
            schema.add_field("content", DataType.VARCHAR, max_length=KEY_CHARACTERS)
            schema.add_field("seq", DataType.INT64)
            schema.add_field("count", DataType.INT64)
            schema.add_field("is_done", DataType.BOOL)
            schema.add_field("nothing", DataType.FLOAT_VECTOR, dim=MIN_DIM)  # Milvus wants one
            self._client.call(
                "create_collection",
                collection_name=REQUESTS,
                schema=schema,
                consistency_level=STRONG,
                properties={"collection.ttl.seconds": self._kept_s},
            )
        indexes = [{"field_name": "nothing", "index_type": "FLAT", "metric_type": "L2"}]
        self._client.load(REQUESTS, indexes)

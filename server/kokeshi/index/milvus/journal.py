"""Which requests were made already, in a collection of Milvus that all gateways share."""

from kokeshi.errors import CollectionNotFoundError
from kokeshi.index.distributed.keys import KEY_CHARACTERS
from kokeshi.index.distributed.requests import DAY_S, Entry
from kokeshi.index.milvus.client import STRONG, Client, Raw
from kokeshi.index.milvus.faults import NotLoadedError
from kokeshi.index.milvus.layout import MIN_DIM, REQUESTS


class Journal:
    """Entries are written before a batch and again after it, and forgotten after `kept_s`.

    A retry of a batch that was cut short finds its first entry, and writes the same rows under the
    same numbers.
    """

    def __init__(self, client: Client, kept_s: int = DAY_S) -> None:
        self._client = client
        self._kept_s = kept_s

    def find(self, key: str) -> Entry | None:
        """See `kokeshi.index.distributed.requests.Journal`."""
        rows = self._call(
            "query",
            filter=f'key == "{key}"',
            output_fields=["key", "content", "seq", "count", "is_done"],
            limit=1,
            consistency_level=STRONG,
        )
        if not rows:
            return None
        return Entry(**{name: rows[0][name] for name in Entry.__dataclass_fields__})

    def note(self, entry: Entry) -> None:
        """See `kokeshi.index.distributed.requests.Journal`."""
        row = {**vars(entry), "nothing": [0.0] * MIN_DIM}
        self._call("upsert", data=[row])

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

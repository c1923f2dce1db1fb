"""How a collection lies in Milvus: its name, its fields, its indexes, and where its settings are.

Nothing is kept anywhere else, so that every gateway finds the collections of all others.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from kokeshi.errors import UnavailableError, UnimplementedError
from kokeshi.index.distributed import settings
from kokeshi.index.distributed.keys import KEY_CHARACTERS
from kokeshi.index.distributed.ranking import shortlist_dimension
from kokeshi.index.spec import CollectionSpec

PREFIX: Final = "kokeshi_"
REQUESTS: Final = "kokeshi_REQUESTS"  # upper case: no collection's name has it
MIN_DIM: Final = 2  # of Milvus's float vectors
MAX_ID_BYTES: Final = 1024  # MAX_ID_CHARACTERS of four bytes each
MAX_ORIGIN_BYTES: Final = 64
METRICS: Final = {"cosine": "COSINE", "ip": "IP", "l2": "L2"}
KINDS: Final = frozenset({"auto", "flat", "hnsw"})


Schema = Any  # pymilvus has no types


@dataclass(frozen=True)
class Layout:
    """A collection in Milvus.

    Attributes:
        spec: as it was made.
        made: a random word that tells it from one of the same name that was dropped.
        prefix: length of the field `prefix`; None where there is none.
        partitions: tenants are spread over so many; 0: none.
    """

    spec: CollectionSpec
    made: str
    prefix: int | None
    partitions: int

    @property
    def name(self) -> str:
        """Name in Milvus."""
        return stored_name(self.spec.name)

    @property
    def kind(self) -> str:
        """Index that candidates come from: "flat" or "hnsw"."""
        return "flat" if self.spec.index == "flat" else "hnsw"

    @property
    def is_full_flat(self) -> bool:
        """True when a search of the field `full` compares every row."""
        return self.kind == "flat" or self.prefix is not None

    def properties(self) -> dict[str, str]:
        """What is stored beside the collection."""
        more = {"made": self.made, "prefix": self.prefix, "partitions": self.partitions}
        return {settings.PROPERTY: settings.written(self.spec, **more)}


def stored_name(name: str) -> str:
    """Name in Milvus, which knows letters, digits and underscores."""
    return PREFIX + name.replace("-", "X")


def public_name(stored: str) -> str | None:
    """The inverse of `stored_name`; None for what is no collection of ours."""
    if not stored.startswith(PREFIX) or stored == REQUESTS:
        return None
    return stored.removeprefix(PREFIX).replace("X", "-")


def layout_of(spec: CollectionSpec, *, made: str, partitions: int) -> Layout:
    """The layout of a new collection.

    Raises:
        UnimplementedError: Milvus cannot hold such a collection.
    """
    if spec.metric not in METRICS:
        raise UnimplementedError(f"milvus has no metric {spec.metric!r}")
    if spec.index not in KINDS:
        raise UnimplementedError(f"milvus builds no index {spec.index!r} here")
    if spec.dim < MIN_DIM:
        raise UnimplementedError(f"milvus holds vectors of {MIN_DIM} values or more")
    length = spec.graph_dimension or shortlist_dimension(spec)
    spec = replace(spec, dimensions=spec.trained)
    return Layout(spec, made, length if MIN_DIM <= length < spec.dim else None, partitions)


def settings_of(description: Mapping[str, Any]) -> str | None:
    """The settings in what Milvus says of a collection: a property, or the description."""
    properties = dict(description.get("properties") or {})
    return properties.get(settings.PROPERTY) or description.get("description")


@functools.lru_cache(maxsize=1024)
def read_layout(encoded: str | None, name: str) -> Layout:
    """The layout that `Layout.properties` wrote.

    Raises:
        UnavailableError: something else made the collection, or a newer version.
    """
    spec, values = settings.read(encoded, name)
    try:
        return Layout(spec, values["made"], values["prefix"], values["partitions"])
    except KeyError as error:
        raise UnavailableError(f"collection {name!r} was not made by kokeshi") from error


def schema_of(layout: Layout) -> Schema:
    """Fields of a collection, as a `pymilvus.CollectionSchema`."""
    from pymilvus import DataType, MilvusClient

    (stored,) = layout.properties().values()
    schema = MilvusClient.create_schema(
        auto_id=False, enable_dynamic_field=False, description=stored
    )
    schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=KEY_CHARACTERS)
    schema.add_field(
        "tenant",
        DataType.VARCHAR,
        max_length=KEY_CHARACTERS,
        is_partition_key=layout.partitions > 0,
    )
    schema.add_field("id", DataType.VARCHAR, max_length=MAX_ID_BYTES)
    schema.add_field("origin", DataType.VARCHAR, max_length=MAX_ORIGIN_BYTES)
    schema.add_field("seq", DataType.INT64)
    schema.add_field("metadata", DataType.JSON)
    schema.add_field("lists", DataType.BOOL)  # a list is somewhere in the metadata
    if layout.prefix is not None:
        schema.add_field("prefix", DataType.FLOAT_VECTOR, dim=layout.prefix)
    # with a prefix to search by, full vectors are read a few hundred at a time: from the disk
    schema.add_field(
        "full",
        DataType.FLOAT_VECTOR,
        dim=layout.spec.dim,
        mmap_enabled=layout.prefix is not None,
    )
    return schema


def indexes_of(layout: Layout, *, links: int, ef_construction: int) -> list[dict[str, Any]]:
    """Indexes of a collection: Milvus wants one for every field of vectors before it loads it.

    Args:
        layout: of the collection.
        links: M of HNSW.
        ef_construction: candidates kept while a row is linked into the graph.
    """
    graph = {"index_type": "HNSW", "params": {"M": links, "efConstruction": ef_construction}}
    flat = {"index_type": "FLAT", "params": {}}
    mapped = {"index_type": "FLAT", "params": {"mmap.enabled": "true"}}
    full = {
        "field_name": "full",
        "metric_type": METRICS[layout.spec.metric],
        **(graph if not layout.is_full_flat else flat if layout.prefix is None else mapped),
    }
    prefix = {
        "field_name": "prefix",
        "metric_type": prefix_metric(layout.spec),
        **(flat if layout.kind == "flat" else graph),
    }
    scalars = [{"field_name": name, "index_type": "INVERTED"} for name in ("tenant", "seq")]
    return [*([] if layout.prefix is None else [prefix]), full, *scalars]


def prefix_metric(spec: CollectionSpec) -> str:
    """How Milvus compares prefixes: under cosine they are stored at unit norm, or zero."""
    return "IP" if spec.metric == "cosine" else METRICS[spec.metric]

"""How a collection lies in Qdrant: its name, its vectors, its indexes."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from kokeshi.errors import UnavailableError, UnimplementedError
from kokeshi.index.distributed import settings
from kokeshi.index.distributed.ranking import shortlist_dimension
from kokeshi.index.spec import CollectionSpec

PREFIX: Final = "kokeshi_"
REQUESTS: Final = "kokeshi_REQUESTS"  # upper case: no collection's name has it
DISTANCES: Final = {"cosine": "Dot", "ip": "Dot", "l2": "Euclid"}
KINDS: Final = frozenset({"auto", "flat", "hnsw"})
LOCAL_KINDS: Final = frozenset({"auto", "flat"})


@dataclass(frozen=True)
class Layout:
    """A collection in Qdrant.

    A point has the vector `full`, and `prefix` where there is one. Under cosine both have unit
    norm, for Qdrant's own cosine would forget the norm that a vector came with; where `full` then
    is not what was given, `given` is.

    Attributes:
        spec: as it was made.
        made: a random word that tells it from one of the same name that was dropped.
        prefix: length of the vector `prefix`; None where there is none.
        is_local: every search of it compares all rows.
        replicas: copies that the server keeps of every point.
    """

    spec: CollectionSpec
    made: str
    prefix: int | None
    is_local: bool = False
    replicas: int = 1

    @property
    def name(self) -> str:
        """Name in Qdrant."""
        return stored_name(self.spec.name)

    @property
    def kind(self) -> str:
        """Index that candidates come from: "flat" or "hnsw"."""
        return "flat" if self.is_local or self.spec.index == "flat" else "hnsw"

    @property
    def is_full_flat(self) -> bool:
        """True when a search of `full` compares every row."""
        return self.kind == "flat" or self.prefix is not None

    @property
    def properties(self) -> dict[str, str]:
        """What is stored beside the collection."""
        return {settings.PROPERTY: settings.written(self.spec, made=self.made, prefix=self.prefix)}

    @property
    def read_vectors(self) -> list[str]:
        """Vectors from which the one that was given can be told."""
        return ["full", "given"] if self.spec.metric == "cosine" else ["full"]


def stored_name(name: str) -> str:
    """Name in Qdrant."""
    return PREFIX + name


def public_name(stored: str) -> str | None:
    """The inverse of `stored_name`; None for what is no collection of ours."""
    if not stored.startswith(PREFIX) or stored == REQUESTS:
        return None
    return stored.removeprefix(PREFIX)


def layout_of(spec: CollectionSpec, *, made: str, is_local: bool) -> Layout:
    """The layout of a new collection.

    Raises:
        UnimplementedError: Qdrant cannot hold such a collection.
    """
    if spec.metric not in DISTANCES:
        raise UnimplementedError(f"qdrant has no metric {spec.metric!r}")
    if spec.index not in (LOCAL_KINDS if is_local else KINDS):
        raise UnimplementedError(f"qdrant builds no index {spec.index!r} here")
    length = spec.graph_dimension or shortlist_dimension(spec)
    spec = replace(spec, dimensions=spec.trained)
    return Layout(spec, made, length if length < spec.dim else None, is_local)


@functools.lru_cache(maxsize=1024)
def read_layout(encoded: str | None, name: str, *, is_local: bool, replicas: int) -> Layout:
    """The layout whose `Layout.properties` are stored.

    Raises:
        UnavailableError: something else made the collection, or a newer version.
    """
    spec, values = settings.read(encoded, name)
    try:
        return Layout(spec, values["made"], values["prefix"], is_local, replicas)
    except KeyError as error:
        raise UnavailableError(f"collection {name!r} was not made by kokeshi") from error


@dataclass(frozen=True)
class Building:
    """How new collections are built; see `QdrantStore`."""

    links: int
    ef_construction: int
    shards: int
    replicas: int

    def arguments(self, layout: Layout) -> Mapping[str, Any]:
        """Arguments of `QdrantClient.create_collection`.

        Acknowledged writes are on a majority of the replicas.
        """
        return {
            "collection_name": layout.name,
            "vectors_config": self._vectors(layout),
            "metadata": layout.properties,
            "shard_number": self.shards,
            "replication_factor": self.replicas,
            "write_consistency_factor": self.replicas // 2 + 1,
        }

    def _vectors(self, layout: Layout) -> dict[str, Any]:
        from qdrant_client import models

        distance = models.Distance(DISTANCES[layout.spec.metric])
        graph = models.HnswConfigDiff(m=self.links, ef_construct=self.ef_construction)
        none = models.HnswConfigDiff(m=0)
        vectors = {
            "full": models.VectorParams(
                size=layout.spec.dim,
                distance=distance,
                hnsw_config=none if layout.is_full_flat else graph,
                # with a prefix to search by, full vectors are read a few hundred at a time
                on_disk=layout.prefix is not None,
            )
        }
        if layout.prefix is not None:
            vectors["prefix"] = models.VectorParams(
                size=layout.prefix,
                distance=distance,
                hnsw_config=none if layout.kind == "flat" else graph,
            )
        if layout.spec.metric == "cosine":
            vectors["given"] = models.VectorParams(
                size=layout.spec.dim, distance=distance, hnsw_config=none, on_disk=True
            )
        return vectors


def indexes() -> dict[str, Any]:
    """Indexes of the payload, by key."""
    from qdrant_client import models

    return {
        "tenant": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
        "seq": models.IntegerIndexParams(
            type=models.IntegerIndexType.INTEGER, lookup=False, range=True
        ),
    }

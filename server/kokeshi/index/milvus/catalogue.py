"""The collections that are there: found, made, made ready, dropped."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from kokeshi.errors import CollectionNotFoundError, KokeshiError, UnavailableError
from kokeshi.index.milvus.client import STRONG, Client
from kokeshi.index.milvus.faults import NotLoadedError
from kokeshi.index.milvus.layout import (
    Layout,
    indexes_of,
    public_name,
    read_layout,
    schema_of,
    settings_of,
    stored_name,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Catalogue:
    """Collections of a Milvus server; `shards`, `links`, `ef_construction`: see `MilvusStore`."""

    client: Client
    shards: int
    links: int
    ef_construction: int

    def names(self) -> list[str]:
        """Names of collections that look like ours, ascending."""
        found = map(public_name, self.client.call("list_collections"))
        return sorted(name for name in found if name is not None)

    def has(self, name: str) -> bool:
        """True where there is a collection of this name."""
        return bool(self.client.call("has_collection", name, collection_name=stored_name(name)))

    def layout(self, name: str) -> Layout:
        """Asked anew each time: another gateway may have made another collection of this name.

        Raises:
            CollectionNotFoundError: there is none.
            UnavailableError: kokeshi cannot read it.
        """
        found = self.client.call("describe_collection", name, collection_name=stored_name(name))
        return read_layout(settings_of(found), name)

    def create(self, layout: Layout) -> None:
        """Makes a collection, unless one of this name is there: the caller looks whose it is."""
        name = layout.spec.name
        if self.has(name):
            return
        parted = {"num_partitions": layout.partitions} if layout.partitions else {}
        try:
            self.client.call(
                "create_collection",
                name,
                is_repeatable=False,
                collection_name=layout.name,
                schema=schema_of(layout),
                properties=layout.properties(),
                consistency_level=STRONG,
                num_shards=self.shards,
                **parted,
            )
        except KokeshiError:
            # another gateway was first, or the answer was lost
            if not self.has(name):
                raise

    def make_ready(self, layout: Layout) -> None:
        """Makes what indexes are missing and brings the collection into memory."""
        indexes = indexes_of(layout, links=self.links, ef_construction=self.ef_construction)
        self.client.load(layout.name, indexes, layout.spec.name)

    def drop(self, name: str) -> None:
        """Removes a collection.

        Raises:
            CollectionNotFoundError: there is none.
        """
        if not self.has(name):
            raise CollectionNotFoundError(f"no collection {name!r:.80}")
        self.client.call("drop_collection", name, collection_name=stored_name(name))

    def on(self, name: str, work: Callable[[Layout], T]) -> T:
        """Does a work that may be done twice, after bringing the collection back if need be."""
        layout = self.layout(name)
        try:
            return work(layout)
        except NotLoadedError:
            self.make_ready(layout)
        try:
            return work(layout)
        except NotLoadedError as error:
            raise UnavailableError(f"collection {name!r} is being loaded") from error

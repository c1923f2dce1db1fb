"""The collections that are there: found, made, completed, dropped."""

from dataclasses import dataclass

from kokeshi.errors import CollectionNotFoundError, KokeshiError
from kokeshi.index.distributed.settings import PROPERTY
from kokeshi.index.qdrant.client import Client, Raw
from kokeshi.index.qdrant.layout import (
    Building,
    Layout,
    indexes,
    public_name,
    read_layout,
    stored_name,
)


@dataclass(frozen=True)
class Catalogue:
    """Collections of a Qdrant, and how new ones are built."""

    client: Client
    building: Building

    def names(self) -> list[str]:
        """Names of collections that look like ours, ascending."""
        found = self.client.call("get_collections").collections
        names = (public_name(one.name) for one in found)
        return sorted(name for name in names if name is not None)

    def has(self, name: str) -> bool:
        """True where there is a collection of this name."""
        return bool(self.client.call("collection_exists", name, collection_name=stored_name(name)))

    def layout(self, name: str) -> Layout:
        """Asked anew each time: another gateway may have made another collection of this name.

        Raises:
            CollectionNotFoundError: there is none.
            UnavailableError: kokeshi cannot read it.
        """
        found = self.client.call("get_collection", name, collection_name=stored_name(name))
        layout = read_layout(
            (found.config.metadata or {}).get(PROPERTY),
            name,
            is_local=self.client.is_local,
            replicas=found.config.params.replication_factor or 1,
        )
        self.complete(layout, found.payload_schema)
        return layout

    def create(self, layout: Layout) -> None:
        """Makes a collection, unless one of this name is there: the caller looks whose it is."""
        name = layout.spec.name
        if self.has(name):
            return
        try:
            self.client.call(
                "create_collection", name, is_repeatable=False, **self.building.arguments(layout)
            )
        except KokeshiError:
            # another gateway was first, or the answer was lost
            if not self.has(name):
                raise

    def complete(self, layout: Layout, there: Raw) -> None:
        """Makes the indexes that a gateway was killed before; the local engine has none.

        Args:
            layout: of the collection.
            there: indexes that it has, by key.
        """
        if layout.is_local:
            return
        for key, schema in indexes().items():
            if key not in there:
                self.client.call(
                    "create_payload_index",
                    layout.spec.name,
                    collection_name=layout.name,
                    field_name=key,
                    field_schema=schema,
                    wait=True,
                )

    def drop(self, name: str) -> None:
        """Removes a collection.

        Raises:
            CollectionNotFoundError: there is none.
        """
        if not self.has(name):
            raise CollectionNotFoundError(f"no collection {name!r:.80}")
        self.client.call("delete_collection", name, collection_name=stored_name(name))

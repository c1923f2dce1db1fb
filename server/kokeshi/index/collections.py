"""The collections of a directory: which there are, how one is made and how one ends."""

from dataclasses import replace
from pathlib import Path

from kokeshi import metrics
from kokeshi.errors import CollectionNotFoundError
from kokeshi.index.cache import Cache
from kokeshi.index.collection import Collection
from kokeshi.index.info import CollectionInfo
from kokeshi.index.loader import Loaded
from kokeshi.index.spec import CollectionSpec
from kokeshi.index.truth import Truth
from kokeshi.index.tuning import Tuning
from kokeshi.index.writer import Job, Writer


class Collections:
    """Collections by name, served or in quarantine.

    Args:
        directory: of the index files.
        truth: what the database holds.
        writer: makes and drops, between writes.
        loaded: the collections that there are at the start.
        tuning: of those that are made.
    """

    def __init__(
        self, directory: Path, truth: Truth, writer: Writer, loaded: Loaded, tuning: Tuning
    ) -> None:
        self._directory, self._truth, self._writer = directory, truth, writer
        self._by_name, self._caches = loaded.collections, loaded.caches
        self._tuning = tuning

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Collection:
        """The collection of that name.

        Raises:
            CollectionNotFoundError: there is none.
        """
        collection = self._by_name.get(name)
        if collection is None:
            raise CollectionNotFoundError(f"no collection {name!r:.80}")
        return collection

    def all(self) -> list[Collection]:
        """Those that there are now."""
        return list(self._by_name.values())

    def infos(self) -> list[CollectionInfo]:
        """What there is to tell of each, by name."""
        return [collection.info() for _, collection in sorted(self._by_name.items())]

    def cache(self, collection: Collection) -> Cache:
        """Its index files."""
        return self._caches[collection.number]

    def create(self, spec: CollectionSpec) -> None:
        """Makes a collection.

        Raises:
            AlreadyExistsError: the name is taken.
        """
        spec = replace(spec, dimensions=spec.trained)

        def publish(number: int) -> None:
            self._caches[number] = Cache(self._directory, number, spec)
            self._by_name[spec.name] = Collection(number, spec, self._tuning)

        self._writer.run(Job(lambda: self._truth.create(spec), publish, rows=1, is_fsynced=True))

    def drop(self, collection: Collection) -> None:
        """Removes a collection from the database, and its index files."""
        name = collection.spec.name

        def publish(_: None) -> None:
            collection.is_dropped = True
            if self._by_name.get(name) is collection:
                del self._by_name[name]
                metrics.COLLECTION_QUARANTINED.remove_by_labels({"collection": name})

        self._writer.run(
            Job(lambda: self._truth.drop(collection.number), publish, rows=1, is_fsynced=True)
        )
        Cache(self._directory, collection.number, collection.spec).remove()

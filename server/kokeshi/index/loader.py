"""Brings collections into memory: index files that can be trusted, then rows newer than them."""

import logging
import shutil
from pathlib import Path
from typing import Final

import numpy as np

from kokeshi.errors import SetupError
from kokeshi.index.cache import INDEXES, Cache, RejectedCacheError
from kokeshi.index.collection import Collection
from kokeshi.index.faiss_index import Base
from kokeshi.index.rows import DamagedRowError, decode_spec
from kokeshi.index.schema import DATABASE
from kokeshi.index.store import CollectionSpec
from kokeshi.index.truth import StoredCollection, Truth

logger = logging.getLogger(__name__)

CHUNK_ROWS: Final = 4096


def load_all(directory: Path, truth: Truth) -> tuple[dict[str, Collection], int]:
    """Every collection by name, and how many index files were rejected.

    Raises:
        SetupError: the database is malformed.
    """
    try:
        stored = truth.collections()
    except DamagedRowError as error:
        raise SetupError(f"{directory / DATABASE}: {error}") from error
    collections = [new_collection(row) for row in stored]
    trusted = [load(one, truth, cache_of(directory, one)) for one in collections]
    _sweep(directory, {str(row.number) for row in stored})
    by_name = {row.name: one for row, one in zip(stored, collections, strict=True)}
    return by_name, trusted.count(False)


def cache_of(directory: Path, collection: Collection) -> Cache:
    """The index files of a collection."""
    return Cache(directory, collection.number, collection.spec)


def new_collection(stored: StoredCollection) -> Collection:
    """A collection without its rows yet; in quarantine where its settings are damaged."""
    try:
        spec = decode_spec(stored.spec, stored.crc)
        if spec.name != stored.name:
            raise DamagedRowError("its name does not match its settings")
    except DamagedRowError as error:
        # settings that hold nothing: it can be listed and dropped
        collection = Collection(stored.number, CollectionSpec(stored.name, space="", dim=1))
        _quarantine(collection, str(error))
        return collection
    return Collection(stored.number, spec, stored.seq)


def load(collection: Collection, truth: Truth, cache: Cache) -> bool:
    """Loads a collection, or puts it in quarantine; false when its index file was rejected."""
    if collection.quarantine:
        return True
    seq = collection.snapshot.seq
    is_trusted = True
    try:
        base, is_trusted = _cached(collection, truth, cache, seq)
        if base is not None:
            collection.restore(base, seq, truth.row_numbers(collection.number, seq))
            collection.cached_seq = base.seq
        _replay(collection, truth, seq, after=base.seq if base else 0)
    except DamagedRowError as error:
        _quarantine(collection, str(error))
    return is_trusted


def _quarantine(collection: Collection, reason: str) -> None:
    logger.error("collection %r is in quarantine: %s", collection.spec.name, reason)
    collection.quarantine = reason


def _sweep(directory: Path, known: set[str]) -> None:
    """Removes index files of collections that were dropped while their index was written."""
    for path in (directory / INDEXES).glob("*"):
        if path.name not in known:
            shutil.rmtree(path, ignore_errors=True)


def _cached(
    collection: Collection, truth: Truth, cache: Cache, seq: int
) -> tuple[Base | None, bool]:
    try:
        base = cache.read(seq)
        if base is not None:
            _check_complete(base, collection, truth)
    except RejectedCacheError as error:
        logger.warning("index files of %r are rebuilt: %s", collection.spec.name, error)
        cache.remove()
        return None, False
    return base, True


def _check_complete(base: Base, collection: Collection, truth: Truth) -> None:
    """Refuses an index that lacks a row it should cover."""
    expected = truth.row_numbers(collection.number, base.seq)
    if not np.isin(expected, base.block.rows, assume_unique=True).all():
        raise RejectedCacheError("rows are missing")


def _replay(collection: Collection, truth: Truth, seq: int, after: int) -> None:
    nothing = np.empty(0, np.int64)
    for chunk in truth.newer(collection.number, after, CHUNK_ROWS):
        rows = np.asarray([row.row for row in chunk], np.int64)
        vectors = np.stack([row.vector for row in chunk])
        collection.apply(seq, collection.geometry.block(rows, vectors), nothing)

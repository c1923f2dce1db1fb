"""Brings collections into memory: index files that can be trusted, then rows newer than them."""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from kokeshi.errors import SetupError
from kokeshi.index.cache import INDEXES, Cache, Lost, Opened, RejectedCacheError
from kokeshi.index.collection import Collection
from kokeshi.index.filters import Record
from kokeshi.index.geometry import Rows
from kokeshi.index.reads import row_span
from kokeshi.index.rows import DamagedRowError, StoredRow
from kokeshi.index.schema import DATABASE
from kokeshi.index.segments import Grower, Segment, locate
from kokeshi.index.spec import CollectionSpec
from kokeshi.index.truth import StoredCollection, Truth
from kokeshi.index.tuning import Tuning

logger = logging.getLogger(__name__)

CHUNK_ROWS: Final = 4096


@dataclass(frozen=True, eq=False)
class Loaded:
    """The collections of a directory.

    Attributes:
        collections: by name.
        caches: their index files, by number.
        rejected: index files that could not be trusted.
    """

    collections: dict[str, Collection]
    caches: dict[int, Cache]
    rejected: int


def load_all(directory: Path, truth: Truth, tuning: Tuning) -> Loaded:
    """Every collection, served or in quarantine.

    Raises:
        SetupError: the database is malformed.
    """
    try:
        stored = truth.collections()
    except DamagedRowError as error:
        raise SetupError(f"{directory / DATABASE}: {error}") from error
    collections = [_new_collection(row, tuning) for row in stored]
    caches = {one.number: Cache(directory, one.number, one.spec) for one in collections}
    rejected = sum(
        _load(one, row.rows, truth, caches[one.number])
        for one, row in zip(collections, stored, strict=True)
    )
    _sweep(directory, {str(row.number) for row in stored})
    by_name = {row.name: one for row, one in zip(stored, collections, strict=True)}
    return Loaded(by_name, caches, rejected)


def _new_collection(stored: StoredCollection, tuning: Tuning) -> Collection:
    """A collection without its rows yet; in quarantine where its settings are damaged."""
    try:
        return Collection(stored.number, stored.read_spec(), tuning, stored.seq)
    except DamagedRowError as error:
        # settings that hold nothing: it can be listed and dropped
        spec = CollectionSpec(stored.name, space="", dim=1)
        collection = Collection(stored.number, spec, tuning)
        collection.isolate(str(error))
        return collection


def _load(collection: Collection, rows: int, truth: Truth, cache: Cache) -> int:
    """Loads a collection of so many rows, or puts it in quarantine; how many files were rejected.

    Every row has a checksum, but a row that is gone has none: the count tells of it.
    """
    if collection.quarantine:
        return 0
    rejected = 0
    try:
        if truth.is_doubtful:
            truth.check_reach(collection.number)
        rejected = _load_files(collection, truth, cache)
        _replay(collection, truth)
    except DamagedRowError as error:
        collection.isolate(str(error))
        return rejected
    if collection.snapshot.count != rows:
        collection.isolate(f"has {collection.snapshot.count} rows, expected {rows}")
    return rejected


def _load_files(collection: Collection, truth: Truth, cache: Cache) -> int:
    seq = collection.snapshot.seq
    try:
        opened = cache.read(seq, collection.tuning)
        if opened is None or not opened.segments:
            return 0
        _check_complete(collection, truth, opened)
        segments = [_restored(collection, truth, segment) for segment in opened.segments]
    except RejectedCacheError as error:
        logger.warning("index files of %r are rebuilt: %s", collection.spec.name, error)
        cache.remove()
        return 1
    is_same = all(
        len(one) == (was.rows if isinstance(was, Lost) else len(was))
        for one, was in zip(segments, opened.segments, strict=True)
    )
    if not is_same:  # rows have moved under the index
        cache.drop_form()
    form = opened.form if is_same else None
    collection.restore(segments, form, opened.form_seq if form else 0)
    collection.cached_seq = opened.segments[-1].seq if not opened.rejected else None
    return opened.rejected


def _check_complete(collection: Collection, truth: Truth, opened: Opened) -> None:
    """Refuses files that lack a row which they should hold: one that lies between them."""
    after = row_span(collection.number)[0]
    for segment in opened.segments:
        first, last = _ends(segment)
        _check_none(truth, after + 1, first - 1)
        after = last
    _check_none(truth, after + 1, truth.last_up_to(collection.number, opened.segments[-1].seq))


def _check_none(truth: Truth, first: int, last: int) -> None:
    if truth.census(first, last)[0]:
        raise RejectedCacheError("rows are missing")


def _ends(segment: Segment | Lost) -> tuple[int, int]:
    if isinstance(segment, Lost):
        return segment.first, segment.last
    return int(segment.block.rows[0]), int(segment.block.rows[-1])


def _restored(collection: Collection, truth: Truth, segment: Segment | Lost) -> Segment:
    """A segment whose dead are marked, its rows read from the database where the file is lost.

    Raises:
        RejectedCacheError: the database has rows that the file lacks.
    """
    first, last = _ends(segment)
    if isinstance(segment, Lost):
        return _read_again(
            collection, truth, segment, truth.row_numbers(collection.number, first, last)
        )
    rows = segment.block.rows
    if truth.census(first, last) == (len(rows), int((rows - first).sum())):
        return segment
    live = truth.row_numbers(collection.number, first, last)
    mask = np.zeros(len(segment), np.bool_)
    mask[locate(rows, live)] = True
    if np.count_nonzero(mask) != len(live):
        raise RejectedCacheError("rows are missing")
    return segment.masked(mask)


def _read_again(collection: Collection, truth: Truth, lost: Lost, rows: Rows) -> Segment:
    grower = Grower(collection.geometry, collection.width, lost.rows, lost.seq)
    for start in range(0, len(rows), CHUNK_ROWS):
        found = truth.by_rows(collection.number, rows[start : start + CHUNK_ROWS])
        _append(collection, grower, [found[row] for row in sorted(found)], lost.seq)
    return grower.segment


def _append(collection: Collection, grower: Grower, rows: list[StoredRow], seq: int) -> None:
    numbers, vectors, records = _unpacked(rows)
    block = collection.geometry.block(numbers, vectors)
    grower.append(block, collection.encoded(block), records, seq)


def _replay(collection: Collection, truth: Truth) -> None:
    """Adds the rows that no file holds, write by write as they were made."""
    seq = collection.snapshot.seq
    after = collection.sealed_seq
    nothing = np.empty(0, np.int64)
    for chunk in _whole_writes(truth.newer(collection.number, after, CHUNK_ROWS)):
        numbers, vectors, records = _unpacked(chunk)
        block = collection.geometry.block(numbers, vectors)
        collection.apply(chunk[-1].seq, block, collection.encoded(block), records, nothing)
    collection.apply(seq, None, None, [], nothing)


def _whole_writes(chunks: Iterator[list[StoredRow]]) -> Iterator[list[StoredRow]]:
    """The same rows, cut so that no write's are split: a sealed segment ends where a write does."""
    held: list[StoredRow] = []
    for chunk in chunks:
        held += chunk
        cut = next((i for i in range(len(held), 0, -1) if held[i - 1].seq < held[-1].seq), 0)
        if cut:
            yield held[:cut]
            held = held[cut:]
    if held:
        yield held


def _unpacked(
    rows: list[StoredRow],
) -> tuple[Rows, "np.ndarray[tuple[int, int], np.dtype[np.float32]]", list[Record]]:
    numbers = np.asarray([row.row for row in rows], np.int64)
    vectors = np.stack([row.vector for row in rows])
    return numbers, vectors, [(row.id, row.tenant, row.origin, row.metadata) for row in rows]


def _sweep(directory: Path, known: set[str]) -> None:
    """Removes index files of collections that were dropped while their index was written."""
    for path in (directory / INDEXES).glob("*"):
        if path.name not in known:
            shutil.rmtree(path, ignore_errors=True)

"""Kokeshi's embedded store in this process, as the server stacks it."""

import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from peers.peer import Batching, Ingesting, K, Settings, Vectors, shares_of

from kokeshi.index import CollectionSpec, EmbeddedStore, Found, Item, SearchParams, Tuning
from kokeshi.index.batching import Batched
from kokeshi.index.filters import Range

SPACE = "0123456789abcdef"
NAME = "benchmark"
BATCH = 1000
BUILD_S = 7200
FULL_SCALE_HNSW_ROWS = Tuning().hnsw_rows


def items(rows: Vectors, shares: Sequence[int], first: int = 0) -> list[Item]:
    return [
        Item(str(first + number), vector, {"share": int(share)})
        for number, (vector, share) in enumerate(zip(rows, shares, strict=True))
    ]


def spec_of(settings: Settings) -> CollectionSpec:
    lengths = tuple(settings["lengths"])
    return CollectionSpec(
        NAME, SPACE, lengths[-1], dimensions=lengths, index=settings.get("index", "auto")
    )


def tuning_of(settings: Settings) -> Tuning:
    """The defaults; a graph is also built over the fewer rows of a small scale."""
    return Tuning(hnsw_rows=settings.get("hnsw_rows", FULL_SCALE_HNSW_ROWS))


class Contestant(Batching, Ingesting):
    """See `Peer`. Dials: those of `SearchParams`."""

    def __init__(self) -> None:
        # libraries do not count as memory of the rows: the store loads FAISS late, peers at once
        importlib.import_module("faiss")
        self.store: EmbeddedStore | None = None

    def build(self, rows: Vectors, folder: Path, settings: Settings) -> dict[str, Any]:
        self.open(folder, settings)
        self.store.create(spec_of(settings))
        shares = shares_of(settings, len(rows))
        start = time.perf_counter()
        for first in range(0, len(rows), BATCH):
            part = slice(first, first + BATCH)
            self.store.upsert(NAME, items(np.array(rows[part]), shares[part], first), space=SPACE)
        ingest_s = time.perf_counter() - start
        if not self.store.wait_idle(BUILD_S):
            raise TimeoutError(f"no index after {BUILD_S} s")
        index_s = time.perf_counter() - start - ingest_s
        return {"ingest_s": round(ingest_s, 3), "index_s": round(index_s, 3), **self.tell()}

    def open(self, folder: Path, settings: Settings) -> None:
        self.store = EmbeddedStore(folder / "data", tuning_of(settings))
        self.searched = Batched(self.store)

    def searcher(self, dial: dict[str, Any]) -> Callable[[Vectors], Sequence[int]]:
        params = params_of(dial)
        return lambda query: numbers(self._search(query[None], params))[0]

    def batcher(self, dial: dict[str, Any]) -> Callable[[Vectors], Sequence[Sequence[int]]]:
        params = params_of(dial)
        return lambda queries: numbers(self._search(queries, params))

    def ingest(self, rows: Vectors, folder: Path, settings: Settings, size: int) -> list[float]:
        self.open(folder, settings)
        self.store.create(spec_of(settings))
        shares = shares_of(settings, len(rows))
        return list(self._ingested(rows, shares, size))

    def tell(self) -> dict[str, Any]:
        info = self.store.describe(NAME)
        return {"index": info.kind, "rows": info.count, "tail": info.tail}

    def close(self) -> None:
        if self.store is not None:
            self.store.close()

    def _search(self, queries: Vectors, params: SearchParams) -> Found:
        return self.searched.search(NAME, queries, params, space=SPACE)

    def _ingested(self, rows: Vectors, shares: Sequence[int], size: int) -> Iterator[float]:
        for first in range(0, len(rows), size):
            part = slice(first, first + size)
            batch = items(rows[part], shares[part], first)
            start = time.perf_counter()
            receipt = self.store.upsert(NAME, batch, space=SPACE)
            yield time.perf_counter() - start
            assert receipt.is_fsynced


def params_of(dial: dict[str, Any]) -> SearchParams:
    given = dict(dial)
    below = given.pop("below", None)
    wanted = None if below is None else Range("share", below=below)
    return SearchParams(k=K, filter=wanted, **given)


def numbers(found: Found) -> list[list[int]]:
    return [[int(hit.id) for hit in hits] for hits in found.hits]

"""The speed of memory: as many threads as there are cores read a block that no cache holds."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from peers.peer import Searching, Settings, Vectors

BYTES = 2**29
PIECES = 64


class Contestant(Searching):
    """See `Peer`; a search reads the block once and finds nothing."""

    def build(self, rows: Vectors, folder: Path, settings: Settings) -> dict[str, Any]:
        self.open(folder, settings)
        return {}

    def open(self, folder: Path, settings: Settings) -> None:
        self.pieces = np.split(np.ones(BYTES // 8, np.int64), PIECES)
        self.pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))

    def searcher(self, dial: dict[str, Any]) -> Callable[[Vectors], Sequence[int]]:
        def read(query: Vectors) -> Sequence[int]:
            list(self.pool.map(np.max, self.pieces))
            return []

        return read

    def tell(self) -> dict[str, Any]:
        return {"bytes": BYTES}

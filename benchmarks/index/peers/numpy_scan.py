"""NumPy's matrix-vector product: a scan with nothing around it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from peers.peer import K, Searching, Settings, Vectors


class Contestant(Searching):
    """See `Peer`."""

    def build(self, rows: Vectors, folder: Path, settings: Settings) -> dict[str, Any]:
        np.save(folder / "rows.npy", rows)
        self.open(folder, settings)
        return {}

    def open(self, folder: Path, settings: Settings) -> None:
        self.rows = np.load(folder / "rows.npy")

    def searcher(self, dial: dict[str, Any]) -> Callable[[Vectors], Sequence[int]]:
        def find(query: Vectors) -> Sequence[int]:
            scores = self.rows @ query
            return np.argpartition(scores, -K)[-K:]

        return find

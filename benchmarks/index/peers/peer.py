"""What a contestant can do; each file beside this one is one, in the class `Contestant`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Settings = dict[str, Any]
K = 10


class Peer:
    """A contestant. Ids are the numbers of the rows; vectors have unit norm.

    Settings: `lengths` trained prefixes, `shares` file of the number that a row is filtered by,
    and what a contestant wants for itself. A dial is what may be turned from search to search;
    `below`, where it is there, wants only rows with a share below.
    """

    def tell(self) -> dict[str, Any]:
        """What it says of itself."""
        return {}

    def close(self) -> None:
        """Ends what it started."""
        return


class Searching(Peer, ABC):
    """One way to search."""

    @abstractmethod
    def build(self, rows: Vectors, folder: Path, settings: Settings) -> dict[str, Any]:
        """Makes rows searchable, and keeps in the folder what `open` needs; notes to print."""

    @abstractmethod
    def open(self, folder: Path, settings: Settings) -> None:
        """Searches again what was built there."""

    @abstractmethod
    def searcher(self, dial: dict[str, Any]) -> Callable[[Vectors], Sequence[int]]:
        """A search of one query (dim,), that may be called from several threads."""


class Batching(Searching):
    """One way to search for several queries at once."""

    @abstractmethod
    def batcher(self, dial: dict[str, Any]) -> Callable[[Vectors], Sequence[Sequence[int]]]:
        """A search of several queries (n, dim) in one call."""


class Ingesting(Peer, ABC):
    """One way to keep rows."""

    @abstractmethod
    def ingest(self, rows: Vectors, folder: Path, settings: Settings, size: int) -> list[float]:
        """Stores rows by batches, each as safe from power loss as it can be; seconds of each."""


def shares_of(settings: Settings, count: int) -> npt.NDArray[np.int64]:
    return np.load(settings["shares"])[:count]

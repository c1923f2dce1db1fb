"""What all index forms have in common: a finished FAISS index that never changes again.

Adding to an index while it is searched crashes the process, and adding to one that is mapped from
a file aborts it; so a form that grows is a copy.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from kokeshi.index.forms.rows import line
from kokeshi.index.geometry import Doubles
from kokeshi.index.items import Vector
from kokeshi.index.kernels import Mask, Positions
from kokeshi.index.kernels.engine import bits, single_threaded, threaded

Progress = Callable[[float], None]
IsStopped = Callable[[], bool]


class BuildStoppedError(Exception):
    """The store is closing; a half-built index was thrown away."""


class Form(Protocol):
    """A finished index over the first `size` positions."""

    @property
    def kind(self) -> str:
        """One of `KINDS`."""

    @property
    def first(self) -> int:
        """Length of the prefixes that it compares."""

    @property
    def size(self) -> int:
        """Rows that it covers."""

    @property
    def memory_bytes(self) -> int:
        """Size in memory, or of the mapped file."""

    @property
    def is_exact(self) -> bool:
        """Its candidates are the nearest rows at its length, but for rounding."""

    def candidates(
        self, query: Doubles, width: int, breadth: int | None = None, allowed: Mask | None = None
    ) -> Positions:
        """Positions near a query, ascending: `width` of them, or fewer where it finds fewer.

        Args:
            query: of the length `first`, made by `Geometry.query`.
            width: how many, at least 1.
            breadth: see `SearchParams.breadth`; None is a default.
            allowed: (size,) bool, rows that may be found; None: all.
        """

    def candidates_of(
        self,
        queries: Sequence[Doubles],
        width: int,
        breadth: int | None = None,
        allowed: Mask | None = None,
    ) -> list[Positions]:
        """The same for several queries."""


@dataclass(frozen=True, eq=False)
class FaissForm(ABC):
    """A form around one FAISS index.

    Attributes:
        index: the FAISS index.
        first: see `Form`.
        breadth: where a search names none.
    """

    index: Any
    first: int
    breadth: int

    kind: ClassVar[str]
    is_exact: ClassVar[bool] = False

    @property
    def size(self) -> int:
        """See `Form`."""
        return int(self.index.ntotal)

    @property
    @abstractmethod
    def memory_bytes(self) -> int:
        """See `Form`."""

    def candidates(
        self, query: Doubles, width: int, breadth: int | None = None, allowed: Mask | None = None
    ) -> Positions:
        """See `Form`."""
        faiss = single_threaded()
        # the bits must outlive the selector, and the selector the search
        bitmap = None if allowed is None else bits(allowed)
        selector = None if bitmap is None else faiss.IDSelectorBitmap(bitmap)
        params = self._params(faiss, width, breadth or self.breadth, selector)
        _, found = self.index.search(line(query), min(width, max(1, self.size)), params=params)
        # -1 stands where fewer were found
        return np.sort(found[0][found[0] >= 0]).astype(np.intp, copy=False)

    def candidates_of(
        self,
        queries: Sequence[Doubles],
        width: int,
        breadth: int | None = None,
        allowed: Mask | None = None,
    ) -> list[Positions]:
        """See `Form`."""
        return [self.candidates(query, width, breadth, allowed) for query in queries]

    @abstractmethod
    def _params(self, faiss: Any, width: int, breadth: int, selector: Any) -> Any:  # noqa: ANN401 - FAISS is untyped
        """FAISS's parameters of a search."""


def fill(
    index: Any,  # noqa: ANN401 - FAISS is untyped
    chunks: Iterator[Vector],
    size: int,
    threads: int,
    is_stopped: IsStopped,
    progress: Progress,
) -> None:
    """Adds rows a few at a time, so that a store that closes need not wait.

    Raises:
        BuildStoppedError: `is_stopped` said so.
    """
    with threaded(threads):
        for chunk in chunks:
            if is_stopped():
                raise BuildStoppedError
            index.add(chunk)
            progress(index.ntotal / size)

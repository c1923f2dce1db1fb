"""What a migration tells: how far it is, and what it did and found."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from kokeshi.index.comparing import Difference
from kokeshi.index.spec import CollectionSpec

MAX_NAMED: Final = 20  # differences that a report names


@dataclass(frozen=True)
class Progress:
    """How far a migration is.

    Attributes:
        phase: what is being done.
        done: rows, of this phase and run.
        total: rows of the source when the phase began.
        rows_per_s: of this phase.
    """

    phase: Literal["copy", "compare"]
    done: int
    total: int
    rows_per_s: float


@dataclass(frozen=True)
class Report:
    """What a migration did and found.

    Attributes:
        spec: of the collection at the target.
        rows: in the source, of all tenants.
        copied: rows written by this run.
        removed: rows that the source had deleted meanwhile, removed from the target.
        is_same: every row was compared and is the same; users may be switched to the target.
        differences: the first of what is not the same, and was not mended.
        difference_count: all of it.
        seconds: of this run.
    """

    spec: CollectionSpec
    rows: int
    copied: int
    removed: int
    is_same: bool
    differences: tuple[Difference, ...]
    difference_count: int
    seconds: float

    @property
    def rows_per_s(self) -> float:
        """Rows copied a second, comparisons included."""
        return self.copied / max(self.seconds, 1e-9)


class Meter:
    """Counts rows of a phase, and tells."""

    def __init__(
        self, phase: Literal["copy", "compare"], tell: Callable[[Progress], None], total: int
    ) -> None:
        self._phase, self._tell, self._total = phase, tell, total
        self._done, self._started = 0, time.monotonic()

    def add(self, rows: int) -> None:
        """Rows that are done."""
        self._done += rows
        seconds = max(time.monotonic() - self._started, 1e-9)
        self._tell(Progress(self._phase, self._done, self._total, self._done / seconds))

"""What is known of one collection, and what is wanted of it."""

import threading
from collections.abc import Sequence
from typing import Final

from kokeshi.index.info import CollectionInfo
from kokeshi.index.recall.curve import Curve
from kokeshi.index.recall.dials import EXACT, Dial, Setting, Want
from kokeshi.index.recall.ledger import Fading, Ledger
from kokeshi.index.recall.surveying import GROWTH
from kokeshi.index.spec import CollectionSpec

MAX_WANTS: Final = 32
EXPLORED_FIRST: Final = 64  # queries of a new want that are all repeated, while there is time


class State:
    """One collection of `spec`."""

    def __init__(self, spec: CollectionSpec, fading: Fading) -> None:
        self.spec = spec
        self.ledger = Ledger(fading)
        self._lock = threading.Lock()
        self._wants: dict[Want, tuple[Setting, ...]] = {}
        self._sampled_at_s: dict[Dial, float] = {}
        self._explored: dict[Want, int] = {}
        self._surveyed: set[Want] = set()
        self._as_it_was: CollectionInfo | None = None

    @property
    def wants(self) -> list[Want]:
        """Wishes that somebody had lately."""
        with self._lock:
            return list(self._wants)

    def wish(self, want: Want, settings: tuple[Setting, ...]) -> bool:
        """Notes that somebody wants a choice; true when it is new."""
        with self._lock:
            is_new = self._wants.pop(want, None) is None
            self._wants[want] = settings
            if len(self._wants) > MAX_WANTS:
                oldest = next(iter(self._wants))
                del self._wants[oldest]
                self._explored.pop(oldest, None)
        return is_new

    def has(self, want: Want, setting: Setting | None) -> bool:
        """True where the times of a setting are of use."""
        return setting in self._wants.get(want, ())

    def is_fresh(self, want: Want) -> bool:
        """True for a wish of which little is known of users' queries."""
        return want in self._wants and self._explored.get(want, 0) < EXPLORED_FIRST

    def is_due(self, dial: Dial, now_s: float, least_every_s: float) -> bool:
        """True when a dial was not sampled for so long."""
        return now_s - self._sampled_at_s.get(dial, float("-inf")) >= least_every_s

    def sampled(self, dial: Dial, now_s: float) -> None:
        """Notes that a search was sampled."""
        with self._lock:
            self._sampled_at_s.pop(dial, None)
            self._sampled_at_s[dial] = now_s
            if len(self._sampled_at_s) > MAX_WANTS:
                del self._sampled_at_s[next(iter(self._sampled_at_s))]

    def to_explore(self, want: Want, count: int) -> Sequence[Setting]:
        """Settings of a wish that were tried least."""
        with self._lock:
            settings = [one for one in self._wants.get(want, ()) if one != EXACT]
            if settings:
                self._explored[want] = self._explored.get(want, 0) + 1
        return sorted(settings, key=lambda one: self.ledger.samples(want, one))[:count]

    def adopt(self, curve: Curve, info: CollectionInfo) -> None:
        """Takes what was kept of the collection."""
        self.ledger.adopt(curve.measures)
        self._surveyed = {measure.want for measure in curve.measures}
        self._as_it_was = info

    def needs_survey(self, want: Want, info: CollectionInfo) -> bool:
        """True where the rows were not asked since the collection became what it is."""
        was = self._as_it_was
        if was is not None and not _is_alike(was, info):
            self.ledger.forget_stored()
            self._surveyed.clear()
        return want not in self._surveyed

    def surveyed(self, want: Want, info: CollectionInfo) -> None:
        """Notes that the rows were asked."""
        self._surveyed.add(want)
        self._as_it_was = info


def _is_alike(was: CollectionInfo, info: CollectionInfo) -> bool:
    return was.kind == info.kind and was.count / GROWTH <= info.count <= was.count * GROWTH

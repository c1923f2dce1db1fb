"""What was measured of one collection: recall and time of each way to search it."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from kokeshi.index.found import RecallEstimate
from kokeshi.index.recall.curve import Measure
from kokeshi.index.recall.dials import Dial, Setting, Want
from kokeshi.index.recall.interval import Tally

# From so many live queries on, what stored rows told as queries does not count any more.
LIVE_QUERIES: Final = 30.0
LIVE_TIMES: Final = 16
IDLE_TIMES: Final = 4
TIMES_KEPT: Final = 256
TIMES_SAVED: Final = 64
MAX_DIALS: Final = 256  # of a collection; the one that was not used for longest is forgotten
MAX_LOAD: Final = 20.0
POINTS_KEPT_S: Final = 1.0  # quantiles of a few thousand times take a millisecond
TAIL: Final = 0.95
EXACTLY: Final = RecallEstimate(1.0, 1.0, 1.0, 0)  # known, not measured


@dataclass(frozen=True)
class Fading:
    """How soon old samples stop to count: data change, and queries do.

    Attributes:
        samples: of one dial after which a sample counts half.
        seconds: after which it does too.
    """

    samples: float = 500.0
    seconds: float = 6 * 3600.0


@dataclass(frozen=True)
class Point:
    """A way to search, and what is known of it.

    Attributes:
        recall: None: nothing yet.
        typical_s: median of the time of one query; None: nothing yet.
        tail_s: which 95 of 100 keep.
    """

    setting: Setting
    dial: Dial
    recall: RecallEstimate | None
    typical_s: float | None
    tail_s: float | None


@dataclass
class Entry:
    """One dial. `live` is of users' queries, `stored` of rows of the collection as queries."""

    live: Tally = field(default_factory=Tally)
    stored: Tally = field(default_factory=Tally)
    live_s: deque[float] = field(default_factory=lambda: deque(maxlen=TIMES_KEPT))
    idle_s: deque[float] = field(default_factory=lambda: deque(maxlen=TIMES_KEPT))
    counted_at_s: float = 0.0
    is_exact: bool = False

    def estimate(self) -> RecallEstimate | None:
        """The best that is known."""
        if self.is_exact:
            return EXACTLY
        if self.live.queries >= LIVE_QUERIES or not self.stored.samples:
            return self.live.estimate()
        return self.stored.estimate()


class Ledger:
    """Entries of one collection; safe to use from many threads.

    Args:
        fading: how soon samples stop to count.
        clock: seconds that only grow.
    """

    def __init__(
        self, fading: Fading | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fading = fading or Fading()
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[Dial, Entry] = {}
        self._went: dict[tuple[Want, Setting], Dial] = {}
        self._recent: dict[Want, tuple[float, list[Point]]] = {}

    def ran(self, want: Want, setting: Setting, dial: Dial, *, is_exact: bool) -> None:
        """Notes where a setting led."""
        with self._lock:
            self._entry(dial).is_exact = is_exact
            self._went[want, setting] = dial

    def took(self, dial: Dial, seconds: float, *, is_live: bool) -> None:
        """Counts the time of one query."""
        with self._lock:
            entry = self._entry(dial)
            (entry.live_s if is_live else entry.idle_s).append(seconds)

    def count(self, dial: Dial, found: int, true: int, *, is_live: bool) -> None:
        """Counts the neighbours of one query that were found, of those that there were."""
        if not true:
            return
        with self._lock:
            entry, now = self._entry(dial), self._clock()
            if is_live:
                age = (now - entry.counted_at_s) / self._fading.seconds
                entry.live.fade(0.5 ** (age + 1 / self._fading.samples))
                entry.counted_at_s = now
            (entry.live if is_live else entry.stored).add(found, true)

    def estimate(self, dial: Dial) -> RecallEstimate | None:
        """What is known of a dial."""
        with self._lock:
            entry = self._entries.get(dial)
            return entry.estimate() if entry else None

    def samples(self, want: Want, setting: Setting) -> int:
        """Queries that were compared with a setting."""
        with self._lock:
            dial = self._went.get((want, setting))
            entry = self._entries.get(dial) if dial else None
            return entry.live.samples + entry.stored.samples if entry else 0

    def points(self, want: Want) -> list[Point]:
        """Everything that is known of searches like one, by median time where that is known."""
        with self._lock:
            return self._drawn(want)

    def recent_points(self, want: Want) -> list[Point]:
        """As `points`, up to a second old."""
        with self._lock:
            now = self._clock()
            kept = self._recent.get(want)
            if kept is None or now - kept[0] > POINTS_KEPT_S:
                kept = self._recent[want] = (now, self._drawn(want))
            return kept[1]

    def measures(self) -> tuple[Measure, ...]:
        """What stored rows told, to be kept."""
        with self._lock:
            return tuple(
                Measure(
                    want,
                    setting,
                    dial,
                    replace(entry.stored),
                    tuple(entry.idle_s)[-TIMES_SAVED:],
                    entry.is_exact,
                )
                for (want, setting), dial in self._went.items()
                if (entry := self._entries.get(dial)) and (entry.stored.samples or entry.is_exact)
            )

    def adopt(self, measures: Sequence[Measure]) -> None:
        """Takes what stored rows told before."""
        with self._lock:
            self._recent.clear()
            for measure in measures:
                entry = self._entry(measure.dial)
                entry.stored, entry.is_exact = replace(measure.tally), measure.is_exact
                entry.idle_s.clear()
                entry.idle_s.extend(measure.times_s)
                self._went[measure.want, measure.setting] = measure.dial

    def forget_stored(self) -> None:
        """Lets go of what stored rows told, and of idle times: the index has changed."""
        with self._lock:
            self._recent.clear()
            for entry in self._entries.values():
                entry.stored = Tally()
                entry.idle_s.clear()

    def _drawn(self, want: Want) -> list[Point]:
        """With the lock."""
        load = self._load()
        known = [
            _point(setting, dial, self._entries[dial], load)
            for (other, setting), dial in self._went.items()
            if other == want and dial in self._entries
        ]
        return sorted(known, key=lambda point: (point.typical_s is None, point.typical_s or 0.0))

    def _entry(self, dial: Dial) -> Entry:
        """With the lock; moves it to the end of those that may be forgotten."""
        entry = self._entries.pop(dial, None)
        if entry is None:
            entry = Entry(counted_at_s=self._clock())
        self._entries[dial] = entry
        if len(self._entries) > MAX_DIALS:
            oldest = next(iter(self._entries))
            del self._entries[oldest]
            self._went = {key: one for key, one in self._went.items() if one != oldest}
        return entry

    def _load(self) -> float:
        """With the lock: how much longer searches of users take than those in idle time."""
        ratios = [
            float(np.median(entry.live_s) / np.median(entry.idle_s))
            for entry in self._entries.values()
            if len(entry.live_s) >= LIVE_TIMES and len(entry.idle_s) >= IDLE_TIMES
        ]
        return min(MAX_LOAD, max(1.0, float(np.median(ratios)))) if ratios else 1.0


def _point(setting: Setting, dial: Dial, entry: Entry, load: float) -> Point:
    is_lived = len(entry.live_s) >= LIVE_TIMES
    times: Sequence[float] = entry.live_s if is_lived else entry.idle_s
    if not times:
        times, is_lived = entry.live_s, True
    if not times:
        return Point(setting, dial, entry.estimate(), None, None)
    typical, tail = np.quantile(times, [0.5, TAIL]) * (1.0 if is_lived else load)
    return Point(setting, dial, entry.estimate(), float(typical), float(tail))

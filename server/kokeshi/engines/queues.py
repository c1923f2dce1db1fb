"""What waits for a model, in Triton's order: by priority, then by age, then what was delayed.

Nothing here locks; the scheduler holds its lock around every call.
"""

from bisect import insort
from collections import deque
from typing import Final

from kokeshi.engines.entries import Entry
from kokeshi.engines.policy import Policy

# Requests of other shapes that one batch is searched past: the search costs time under the lock.
LOOK_AHEAD_REQUESTS: Final = 64


class _Level:
    """The requests of one priority."""

    __slots__ = ("delayed", "queue", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self.queue: deque[Entry] = deque()
        self.delayed: deque[Entry] = deque()

    def __len__(self) -> int:
        return len(self.queue) + len(self.delayed)

    def pop(self, now_ns: int) -> Entry | None:
        """The next request, after those that lost their place were moved.

        A request whose caller has stopped waiting is dropped: the caller says so by itself.
        """
        while self.queue:
            entry = self.queue.popleft()
            if not entry.limit_ns or now_ns < entry.limit_ns:
                self.rows -= entry.rows
                return entry
            entry.limit_ns, entry.delayed = entry.hard_ns, True
            self.delayed.append(entry)
        while self.delayed:
            entry = self.delayed.popleft()
            self.rows -= entry.rows
            if not entry.hard_ns or now_ns < entry.hard_ns:
                return entry
        return None

    def unpop(self, entry: Entry) -> None:
        """Puts a request back where it was."""
        (self.delayed if entry.delayed else self.queue).appendleft(entry)
        self.rows += entry.rows

    def push(self, entry: Entry) -> None:
        self.queue.append(entry)
        self.rows += entry.rows

    def remove(self, entry: Entry) -> bool:
        """Whether it was here."""
        try:
            (self.delayed if entry.delayed else self.queue).remove(entry)
        except ValueError:
            return False
        self.rows -= entry.rows
        return True


class Waiting:
    """The queue of a model, of one level or several."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._preferred = frozenset(policy.preferred_rows or (policy.max_rows,))
        self._top_rows = max(self._preferred)
        self._levels: dict[int, _Level] = {}  # by number; none stays empty but the only one
        self._order: list[int] = []  # of the numbers

    def __len__(self) -> int:
        # Counted anew: there are few levels, and a count kept beside them that is ever wrong would
        # be wrong for good.
        return sum(map(len, self._levels.values()))

    def full(self, number: int) -> int:
        """The limit of a level that has reached it, else 0."""
        limit = self._policy.limit_of(number)
        level = self._levels.get(number)
        return limit if limit and level is not None and len(level) >= limit else 0

    def rows_before(self, number: int) -> int:
        """Rows that run before a new request of a level."""
        return sum(self._levels[level].rows for level in self._order if level <= number)

    def requests_before(self, number: int) -> int:
        """Requests that run before a new request of a level."""
        return sum(len(self._levels[level]) for level in self._order if level <= number)

    def push(self, entry: Entry) -> None:
        """Queues a request at its level."""
        self._level(entry.level).push(entry)

    def remove(self, entry: Entry) -> None:
        """Takes a request out, if it is in."""
        level = self._levels.get(entry.level)
        if level is not None and level.remove(entry):
            self._drop_if_empty(entry.level, level)

    def pop(self, now_ns: int) -> Entry | None:
        """The request whose turn it is, if any."""
        for number in tuple(self._order):
            level = self._levels[number]
            entry = level.pop(now_ns)
            self._drop_if_empty(number, level)
            if entry is not None:
                return entry
        return None

    def fill(
        self, first: Entry, now_ns: int, *, late: bool = False, patient: bool = False
    ) -> tuple[list[Entry], int]:
        """Takes what goes into a batch with `first`, by Triton's dynamic batching.

        Args:
            first: already taken from the queue.
            now_ns: the time.
            late: somebody waited for as long as the queue delay allows: as many as fit, not as
                many as are preferred.
            patient: the batch may wait for more.

        Returns:
            The batch, and 0; or nothing, and the rows that a batch worth running at once lacks.
        """
        popped, batch, lacking = self._gather(first, now_ns, late=late)
        wait = lacking > 0 and patient and not late
        if wait or len(batch) <= len(popped):
            kept = set() if wait else set(map(id, batch))
            for entry in reversed(popped):
                if id(entry) not in kept:
                    self._unpop(entry)
        return ([], lacking) if wait else (batch, 0)

    def _gather(
        self, first: Entry, now_ns: int, *, late: bool
    ) -> tuple[list[Entry], list[Entry], int]:
        """What was popped; the batch of `first` and some of it; and the rows that it lacks."""
        batch, popped = [first], list[Entry]()
        rows, full = first.rows, False
        best = int(rows in self._preferred)  # requests that make up a preferred size
        while rows < self._policy.max_rows and not full:
            entry = self._pop_alike(first, now_ns, popped)
            if entry is None:
                full = len(self) > 0  # what waits cannot join it
                break
            if rows + entry.rows > self._top_rows and not best:
                best = len(batch)
            full = rows + entry.rows > self._policy.max_rows
            if not full:
                batch.append(entry)
                rows += entry.rows
            if rows in self._preferred:
                best = len(batch)
        if best and not late:
            return popped, batch[:best], 0
        missing = min((size - rows for size in self._preferred if size > rows), default=0)
        return popped, batch, 0 if full else missing

    def _pop_alike(self, first: Entry, now_ns: int, popped: list[Entry]) -> Entry | None:
        """The next request of the same shapes; all that was popped to find it is noted."""
        for _ in range(LOOK_AHEAD_REQUESTS):
            entry = self.pop(now_ns)
            if entry is None:
                return None
            popped.append(entry)
            if entry.shapes == first.shapes:
                return entry
            if self._policy.preserve_ordering:
                self._unpop(popped.pop())
                return None
        return None

    def _level(self, number: int) -> _Level:
        level = self._levels.get(number)
        if level is None:
            level = self._levels[number] = _Level()
            insort(self._order, number)
        return level

    def _drop_if_empty(self, number: int, level: _Level) -> None:
        # There may be as many as clients think of numbers; without priorities the one stays.
        if not level and self._policy.priority_levels:
            del self._levels[number]
            self._order.remove(number)

    def _unpop(self, entry: Entry) -> None:
        self._level(entry.level).unpop(entry)

"""Chooses how deep to search, from what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from kokeshi.errors import InvalidRequestError
from kokeshi.index.asked import SearchParams
from kokeshi.index.found import RecallEstimate
from kokeshi.index.recall.dials import DEFAULT, EXACT, Setting
from kokeshi.index.recall.ledger import EXACTLY, Point

Basis = Literal["measured", "likely", "exact", "deepest", "over_budget", "unknown"]
MAX_BUDGET_MS: Final = 3_600_000.0
SURE_WIDTH: Final = 0.06  # of an interval that counts as measured


@dataclass(frozen=True)
class Choice:
    """How to search, and what to expect of it.

    Attributes:
        params: what to call `Store.search` with.
        recall: that searches like this one had; None: none was measured yet.
        tail_s: seconds that 95 of 100 of them took at most; None: none was timed yet.
        basis: "measured": the interval of the recall lies above the target, or the time within
            the budget; "likely": the recall does but samples are few, and this is one step
            deeper; "exact": nothing cheaper is known to do; "deepest": neither, and the store
            cannot compare every row; "over_budget": nothing is fast enough, this is the fastest;
            "unknown": nothing that would do was measured yet, nor what the store does by itself.
    """

    params: SearchParams
    recall: RecallEstimate | None
    tail_s: float | None
    basis: Basis


class Chooser(Protocol):
    """What `kokeshi.index.recall.Measured` does beside being a store."""

    def choose(
        self,
        name: str,
        params: SearchParams,
        *,
        recall_target: float | None = None,
        budget_ms: float | None = None,
    ) -> Choice:
        """See `Measured.choose`."""


@dataclass(frozen=True)
class Pick:
    """A setting, and why."""

    setting: Setting
    recall: RecallEstimate | None
    tail_s: float | None
    basis: Basis


def check_wish(recall_target: float | None, budget_ms: float | None) -> None:
    """Refuses what cannot be obeyed: exactly one of both is given, and within bounds."""
    if (recall_target is None) == (budget_ms is None):
        raise InvalidRequestError("expected recall_target or budget_ms, one of both")
    if recall_target is not None and not 0 < recall_target <= 1:
        raise InvalidRequestError(
            f"recall_target must be above 0 and at most 1, got {recall_target}"
        )
    if budget_ms is not None and not 0 < budget_ms <= MAX_BUDGET_MS:
        raise InvalidRequestError(
            f"budget_ms must be above 0 and at most {MAX_BUDGET_MS:g}, got {budget_ms}"
        )


def by_recall(points: Sequence[Point], ladder: Sequence[Setting], target: float) -> Pick:
    """The cheapest setting whose recall is surely enough, else one that goes deeper.

    Args:
        points: what is known, by time.
        ladder: settings that the store can do, the deepest last.
        target: recall in (0, 1].
    """
    known = [point for point in points if point.setting in ladder and point.recall]
    for point in known:
        if point.recall and point.recall.low >= target and _is_sure(point.recall):
            return _pick(point, "measured")
    enough = [point for point in known if point.recall and point.recall.value >= target < 1]
    if enough:
        return _pick(_deeper(known, enough[0]), "likely")
    return _deepest(points, ladder)


def by_budget(points: Sequence[Point], budget_s: float) -> Pick:
    """The setting with the best recall whose time fits.

    Args:
        points: what is known, by time.
        budget_s: seconds that 95 of 100 searches should take at most.
    """
    timed = [point for point in points if point.tail_s is not None]
    if not timed:
        return Pick(DEFAULT, None, None, "unknown")
    fitting = [point for point in timed if point.tail_s is not None and point.tail_s <= budget_s]
    if not fitting and all(point.setting != DEFAULT for point in timed):
        # somebody compared every row, say: what the store would do may be a thousand times faster
        return Pick(DEFAULT, None, None, "unknown")
    if not fitting:
        return _pick(min(timed, key=lambda point: point.tail_s or 0.0), "over_budget")
    return _pick(max(fitting, key=_least), "measured")


def _deeper(known: Sequence[Point], point: Point) -> Point:
    """The next known one that finds at least as much, by time; the same where there is none."""
    return next(
        (one for one in known[known.index(point) + 1 :] if _value(one) >= _value(point)), point
    )


def _deepest(points: Sequence[Point], ladder: Sequence[Setting]) -> Pick:
    last = ladder[-1]
    tails = [point.tail_s for point in points if point.setting == last]
    tail_s = tails[0] if tails else None
    if last == EXACT:
        return Pick(last, EXACTLY, tail_s, "exact")
    recalls = [point.recall for point in points if point.setting == last]
    return Pick(last, recalls[0] if recalls else None, tail_s, "deepest")


def _is_sure(recall: RecallEstimate) -> bool:
    return recall.high - recall.low <= SURE_WIDTH


def _least(point: Point) -> float:
    return point.recall.low if point.recall else -1.0


def _value(point: Point) -> float:
    return point.recall.value if point.recall else -1.0


def _pick(point: Point, basis: Basis) -> Pick:
    return Pick(point.setting, point.recall, point.tail_s, basis)

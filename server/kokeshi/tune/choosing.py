"""Which of the candidates is the fastest that keeps the fidelity."""

from collections.abc import Sequence
from typing import Final, Literal

from kokeshi.card import Candidate

Goal = Literal["throughput", "latency"]
TIE: Final = 0.03  # a difference that another run of the same may have


def choose(candidates: Sequence[Candidate], goal: Goal) -> Candidate:
    """The best candidate that was measured and keeps every bound.

    Of those that are as good but for `TIE`, the one that is better by the other goal: a core for
    each of two batches is no gain where the same cores on one batch answer in half the time.

    Args:
        candidates: at least one of them faithful, as the verified graph is to itself.
        goal: "throughput": the most rows in a second at any batch size; "latency": the shortest
            median at the smallest.
    """
    faithful = [one for one in candidates if one.faithful]
    best = max(merit(one, goal) for one in faithful)
    alike = [one for one in faithful if merit(one, goal) >= best * (1 - TIE)]
    other: Goal = "latency" if goal == "throughput" else "throughput"
    return max(alike, key=lambda one: merit(one, other))


def merit(candidate: Candidate, goal: Goal) -> float:
    """More is better: rows in a second, or runs."""
    if goal == "throughput":
        return max(speed.rows_per_s for speed in candidate.speeds)
    return 1000 / min(candidate.speeds, key=lambda speed: speed.batch_size).p50_ms

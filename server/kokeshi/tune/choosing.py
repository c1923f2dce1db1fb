"""Which of the candidates is the fastest that keeps the fidelity."""

from collections.abc import Sequence
from typing import Literal

from kokeshi.card import Candidate

Goal = Literal["throughput", "latency"]


def choose(candidates: Sequence[Candidate], goal: Goal) -> Candidate:
    """The best candidate that was measured and keeps every bound.

    The first candidate is the verified graph in fp32, which is always faithful to itself.

    Args:
        candidates: at least one.
        goal: "throughput": the most rows in a second at any batch size; "latency": the shortest
            median at the smallest.
    """
    return max((one for one in candidates if one.faithful), key=lambda one: merit(one, goal))


def merit(candidate: Candidate, goal: Goal) -> float:
    """More is better."""
    if goal == "throughput":
        return max(speed.rows_per_s for speed in candidate.speeds)
    return -min(candidate.speeds, key=lambda speed: speed.batch_size).p50_ms

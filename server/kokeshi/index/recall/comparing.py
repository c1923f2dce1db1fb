"""What a search found, held against what it should have found."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from kokeshi.index.found import Hit

# A remote store scores in float32 what another of its ways to search scores in another order.
TOLERANCE: Final = 1e-6

SeqsOf = Callable[[Sequence[str]], Mapping[str, int]]


def compared(
    hits: Sequence[Hit],
    exact: Sequence[Hit],
    *,
    higher_is_better: bool,
) -> tuple[int, int]:
    """Neighbours that were found, of how many; one that ties with the last is as good as it.

    Args:
        hits: what was found.
        exact: what was there.
        higher_is_better: of scores.
    """
    if not exact:
        return 0, 0
    last = _worth(exact[-1], higher_is_better)
    least = last - _doubt(last)
    found = sum(_worth(hit, higher_is_better) >= least for hit in hits)
    return min(found, len(exact)), len(exact)


def compared_across_writes(
    hits: Sequence[Hit],
    exact: Sequence[Hit],
    seqs_of: SeqsOf,
    seq: int,
    *,
    higher_is_better: bool,
) -> tuple[int, int] | None:
    """As `compared`, where writes may have come between the two; None where they spoilt it.

    Args:
        hits: what was found.
        exact: what was there, before or after.
        seqs_of: the writes that stored items.
        seq: the last write that both saw.
        higher_is_better: of scores.
    """
    if not exact:
        return None
    there = {hit.id: hit.score for hit in exact}
    last = _worth(exact[-1], higher_is_better)
    for hit in hits:
        is_inside = _worth(hit, higher_is_better) > last + _doubt(last)
        is_moved = abs(there.get(hit.id, hit.score) - hit.score) > _doubt(hit.score)
        if is_moved or (is_inside and hit.id not in there):
            return None  # deleted or replaced since
    known = {hit.id for hit in hits}
    missed = [hit.id for hit in exact if hit.id not in known]
    newer = {one for one, stored in seqs_of(missed).items() if stored > seq}
    older = [hit for hit in exact if hit.id not in newer]
    return compared(hits, older, higher_is_better=higher_is_better)


def _worth(hit: Hit, higher_is_better: bool) -> float:
    return hit.score if higher_is_better else -hit.score


def _doubt(score: float) -> float:
    return TOLERANCE * max(1.0, abs(score))

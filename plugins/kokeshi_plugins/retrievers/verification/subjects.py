"""One probe against the whole set of a subject: how to make one score of several.

The score of a set is the highest of its similarities, the mean of the highest three, or the mean of
all (the score-level fusions of biometric verification). Which one is best depends on how much the
pictures of one subject differ, so it is measured.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi_plugins.retrievers.fitted import unit
from kokeshi_plugins.retrievers.verification.pairs import ScoredPairs, checked

PAIR: Final = "pair"  # one reference: its similarity is the score
BEST: Final = 3


def _highest(similarities: npt.NDArray[Any]) -> npt.NDArray[Any]:
    highest: npt.NDArray[Any] = similarities.max(axis=-1)
    return highest


def _mean_of_highest(similarities: npt.NDArray[Any]) -> npt.NDArray[Any]:
    few = min(BEST, similarities.shape[-1])
    mean: npt.NDArray[Any] = np.partition(similarities, -few, axis=-1)[..., -few:].mean(axis=-1)
    return mean


def _mean(similarities: npt.NDArray[Any]) -> npt.NDArray[Any]:
    mean: npt.NDArray[Any] = similarities.mean(axis=-1)
    return mean


# Each takes similarities (..., references) to scores (...).
RULES: Final[Mapping[str, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]]] = {
    "highest": _highest,
    "mean_of_highest_3": _mean_of_highest,
    "mean": _mean,
}


def set_scores(
    vectors: npt.NDArray[np.float64],
    classes: npt.NDArray[np.int64],
    dimension: int,
    references: int,
    seed: int,
) -> dict[str, ScoredPairs]:
    """Every probe against every subject, scored by each rule.

    Of each class `references` items, drawn, are its set; the others are probes. Classes without an
    item to spare take no part.

    Args:
        vectors: (n, dim).
        classes: (n,).
        dimension: prefix length; the prefix is normalised again.
        references: in the set of a subject.
        seed: of the draw.

    Raises:
        InvalidRequestError: fewer than two classes have an item to spare.
    """
    cut = unit(vectors[:, :dimension])
    random = np.random.default_rng(seed)
    members = (np.flatnonzero(classes == number) for number in np.unique(classes))
    mixed = [random.permutation(rows) for rows in members if len(rows) > references]
    sets = [rows[:references] for rows in mixed]
    probes = np.concatenate([rows[references:] for rows in mixed] or [np.empty(0, np.int64)])
    owner = np.repeat(np.arange(len(mixed)), [len(rows) - references for rows in mixed])
    probe_of, set_of = np.divmod(np.arange(len(probes) * len(sets)), max(len(sets), 1))
    gallery = cut[np.stack(sets)] if sets else np.empty((0, references, dimension))
    similarities = np.einsum("pd,srd->psr", cut[probes], gallery)
    return {
        rule: checked(
            ScoredPairs(
                scores=fuse(similarities).reshape(-1),
                same=owner[probe_of] == set_of,
                first=probe_of,
                second=len(probes) + set_of,
                clusters=len(probes) + len(sets),
            )
        )
        for rule, fuse in RULES.items()
    }

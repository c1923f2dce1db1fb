"""Adaptive retrieval with nested embeddings: short prefixes find, longer ones decide.

Matryoshka Representation Learning (Kusupati, Bhatt, Rege et al.; NeurIPS 2022),
https://arxiv.org/abs/2205.13147, section 4.3; AdANNS (Rege et al.; NeurIPS 2023),
https://arxiv.org/abs/2305.19435. Code: https://github.com/RAIVNLab/MRL.

A plan is a list of stages: the first scans every item at its dimension and keeps its best, each
later one ranks what is left at its own. The authors' adaptive retrieval is two stages (16, 200
kept, 2048), their funnel starts at 8 and passes 16, 32, 64, 128 and 2048 with shortlists of 200,
100, 50, 25 and 10. In AdANNS a clustering at one prefix leads, the distance is taken at a longer
one: two stages as well, whose first is cheaper still.

Which plan suffices depends on the data, so the fit measures plans: the share of the nearest by full
length that a plan finds, and its multiplications per query.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import Paper, Retriever, Sample
from kokeshi_plugins.retrievers.fitted import Fitted, Rate, Record, bootstrap_mean, unit

Floats = npt.NDArray[np.float64]
KINDS: Final = ("adaptive", "funnel")
WIDTHS: Final = (1, 2, 4, 8, 16, 32)  # first shortlists that are tried, in multiples of `shortlist`
PAPER: Final = Paper(
    title="Matryoshka Representation Learning",
    authors="Kusupati, Bhatt, Rege, Wallingford, Sinha, Ramanujan, Howard-Snyder, Chen, Kakade, "
    "Jain, Farhadi",
    year=2022,
    url="https://arxiv.org/abs/2205.13147",
)


class Stage(Record):
    """Ranks at a prefix length and keeps the best."""

    dimension: int
    keep: int


class Measured(Record):
    """A plan and the recall that it had."""

    stages: tuple[Stage, ...]
    recall: Rate


class Funnel(Fitted):
    """Measured plans of a collection's sample; `count` items were searched for `k`."""

    plans: tuple[Measured, ...]
    k: int
    count: int


def adaptive(start: int, full: int, shortlist: int, k: int) -> tuple[Stage, ...]:
    """Two stages: a shortlist by the short prefix, then the full length."""
    return Stage(dimension=start, keep=shortlist), Stage(dimension=full, keep=k)


def funnel(trained: Sequence[int], start: int, shortlist: int, k: int) -> tuple[Stage, ...]:
    """All trained lengths from `start` on; each keeps half of what it ranked, the last one k.

    The authors' funnel, which leaves out 256 to 1024, is this one over the lengths 8 to 128 and
    2048.
    """
    lengths = [length for length in trained if length >= start]
    kept = [max(shortlist >> step, k) for step in range(len(lengths) - 1)]
    return tuple(
        Stage(dimension=length, keep=keep) for length, keep in zip(lengths, [*kept, k], strict=True)
    )


def cost(stages: Sequence[Stage], count: int) -> int:
    """Multiplications per query over `count` items."""
    candidates, total = count, 0
    for stage in stages:
        total += candidates * stage.dimension
        candidates = min(candidates, stage.keep)
    return total


def walk(stages: Sequence[Stage], items: Floats, queries: Floats) -> npt.NDArray[np.int64]:
    """Rows (queries, kept) that a plan finds, best first, by the cosine of each prefix.

    Equal cosines stand in the order that the stage before had, at first that of the items.

    Raises:
        InvalidRequestError: the plan has no stage.
    """
    rows: npt.NDArray[np.int64] | None = None
    for stage in stages:
        cut, short = unit(items[:, : stage.dimension]), unit(queries[:, : stage.dimension])
        cosines = short @ cut.T if rows is None else np.einsum("qd,qkd->qk", short, cut[rows])
        order = np.argsort(-cosines, axis=1, kind="stable")[:, : stage.keep]
        rows = order if rows is None else np.take_along_axis(rows, order, axis=1)
    if rows is None:
        raise InvalidRequestError("expected a plan of at least one stage")
    return rows


def fit(sample: Sample, settings: Mapping[str, Any]) -> Funnel:
    """Measures plans on the sample's queries; without any, on up to a fifth of its items.

    Raises:
        InvalidRequestError: one trained length alone, or fewer items than a shortlist.
    """
    if len(sample.trained) < 2:  # noqa: PLR2004 - one finds, another decides
        raise InvalidRequestError("expected an embedding of at least two trained lengths")
    items, queries = _split(sample, settings["most_queries"])
    k, shortlist = settings["k"], max(settings["shortlist"], settings["k"])
    if k < 1 or len(items) <= shortlist:
        raise InvalidRequestError(
            f"expected k of at least 1 and more than {shortlist} items, got {k!r} and {len(items)}"
        )
    full = sample.trained[-1]
    wanted = walk((Stage(dimension=full, keep=k),), items, queries)
    plans = []
    for stages in _candidates(sample.trained, shortlist, k, len(items)):
        found = walk(stages, items, queries)
        hits = (found[:, :, None] == wanted[:, None, :]).any(axis=2).mean(axis=1)
        plans.append(Measured(stages=stages, recall=bootstrap_mean(hits, sample.seed)))
    return Funnel(plans=tuple(plans), k=k, count=len(items), space=sample.space)


def plan(settings: Mapping[str, Any], model: Funnel | None) -> dict[str, Any]:
    """The cheapest measured plan with the wanted recall, or the authors' where none is measured.

    Returns:
        `stages` (list of `dimension` and `keep`), `multiplications` per query over `count` items,
        `scan` the same for a scan at full length, and `recall`, None where nothing was measured.

    Raises:
        InvalidRequestError: no measured plan reaches the recall, or a setting is out of range.
    """
    count, k = settings["count"], settings["k"]
    if model is None:
        stages, recall = _published(settings), None
    else:
        reached = [
            measured for measured in model.plans if measured.recall.low >= settings["recall"]
        ]
        if not reached or k > model.k:
            best = max(model.plans, key=lambda measured: measured.recall.low).recall
            raise InvalidRequestError(
                f"expected k of at most {model.k} and a recall of at most {best.low:.4f}, the "
                f"lower bound of the best measured plan; got {k!r} and {settings['recall']!r}"
            )
        chosen = min(reached, key=lambda measured: cost(measured.stages, count))
        stages, recall = chosen.stages, chosen.recall.model_dump()
    return {
        "stages": [stage.model_dump() for stage in stages],
        "multiplications": cost(stages, count),
        "scan": count * stages[-1].dimension,
        "recall": recall,
    }


def _published(settings: Mapping[str, Any]) -> tuple[Stage, ...]:
    trained, start = tuple(settings["trained"]), settings["start"]
    if settings["kind"] not in KINDS or start not in trained or list(trained) != sorted(trained):
        raise InvalidRequestError(
            f"expected kind 'adaptive' or 'funnel' and a start out of ascending trained lengths, "
            f"got {settings['kind']!r}, {start!r} and {trained!r}"
        )
    k, shortlist = settings["k"], settings["shortlist"]
    if settings["kind"] == "adaptive":
        return adaptive(start, trained[-1], shortlist, k)
    return funnel(trained, start, shortlist, k)


def _candidates(
    trained: Sequence[int], shortlist: int, k: int, count: int
) -> list[tuple[Stage, ...]]:
    full = trained[-1]
    widths = [shortlist * width for width in WIDTHS if shortlist * width < count]
    two = [adaptive(start, full, width, k) for start in trained[:-1] for width in widths]
    more = [funnel(trained, start, width, k) for start in trained[:-2] for width in widths]
    return [(Stage(dimension=full, keep=k),), *two, *more]


def _split(sample: Sample, most: int) -> tuple[Floats, Floats]:
    vectors = sample.vectors.astype(np.float64)
    if sample.queries is not None:
        return vectors, sample.queries[:most].astype(np.float64)
    mixed = np.random.default_rng(sample.seed).permutation(len(vectors))
    few = min(len(vectors) // 5, most)
    return vectors[mixed[few:]], vectors[mixed[:few]]


FUNNEL: Final = Retriever(
    name="funnel",
    paper=PAPER,
    licence="Apache-2.0",
    plan=plan,
    fit=fit,
    model=Funnel,
    defaults={
        "kind": "funnel",
        "k": 10,
        "shortlist": 200,
        "start": 8,
        "trained": (8, 16, 32, 64, 128, 2048),
        "recall": 0.98,
        "count": 1_000_000,
        "most_queries": 500,  # that plans are measured on
    },
    rows=(251,),
    summary="Plans of prefixes and shortlists: the authors', or the cheapest that was measured.",
)

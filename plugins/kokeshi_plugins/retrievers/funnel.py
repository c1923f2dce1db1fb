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
length that a plan finds, and its multiplications per query. A shortlist is a share of the items
that it was measured on: among more items it grows with them, for as many more stand before the
nearest in the order of the prefix.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import SHARE, Bounds, Paper, Retriever, Sample, go_on
from kokeshi_plugins.retrievers.fitted import Fitted, Rate, Record, bootstrap_mean, unit
from kokeshi_plugins.retrievers.limits import LENGTH, NEIGHBOURS

Floats = npt.NDArray[np.float64]
KINDS: Final = ("adaptive", "funnel")
MOST_SHORTLIST: Final = 100_000
MOST_ITEMS: Final = 10**12  # that a plan is priced for
MOST_STAGES: Final = 100
MOST_QUERIES: Final = 5_000  # time: each walks every plan
BLOCK_BYTES: Final = 64 * 2**20  # memory: of the candidates of a block of queries
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
        width = len(cut) if rows is None else rows.shape[1] * stage.dimension
        step = max(1, BLOCK_BYTES // (8 * width))
        blocks = [slice(start, start + step) for start in range(0, len(short), step)]
        ranked = [
            _ranked(cut, short[block], None if rows is None else rows[block], stage.keep)
            for block in blocks
        ]
        rows = np.concatenate(ranked)
    if rows is None:
        raise InvalidRequestError("expected a plan of at least one stage")
    return rows


def _ranked(
    items: Floats, queries: Floats, rows: npt.NDArray[np.int64] | None, keep: int
) -> npt.NDArray[np.int64]:
    """The best rows of those that each query has, or of all."""
    go_on()
    if rows is None:
        return np.argsort(-(queries @ items.T), axis=1, kind="stable")[:, :keep]
    cosines = np.einsum("qd,qkd->qk", queries, items[rows])
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :keep]
    return np.take_along_axis(rows, order, axis=1)


def fit(sample: Sample, settings: Mapping[str, Any]) -> Funnel:
    """Measures plans on the sample's queries; without any, on up to a fifth of its items.

    Raises:
        InvalidRequestError: one trained length alone, or fewer items than a shortlist.
    """
    if len(sample.trained) < 2:  # noqa: PLR2004 - one finds, another decides
        raise InvalidRequestError("expected an embedding of at least two trained lengths")
    items, queries = _split(sample, settings["most_queries"])
    k, shortlist = settings["k"], max(settings["shortlist"], settings["k"])
    if k < 1 or len(items) <= shortlist or not len(queries):
        raise InvalidRequestError(
            f"expected k of at least 1, a query and more than {shortlist} items, got {k!r}, "
            f"{len(queries)} and {len(items)}"
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

    `most_stages` leaves out plans of more stages; 0 leaves out none.

    Returns:
        `stages` (list of `dimension` and `keep`), `multiplications` per query over `count` items,
        `scan` the same for a scan at full length, and `recall`, None where nothing was measured.

    Raises:
        InvalidRequestError: no measured plan reaches the recall, or a setting is out of range.
    """
    count = settings["count"]
    if model is None:
        stages, recall = _published(settings), None
    else:
        chosen = _cheapest(settings, model)
        stages, recall = grown(chosen.stages, count / model.count), chosen.recall.model_dump()
    return {
        "stages": [stage.model_dump() for stage in stages],
        "multiplications": cost(stages, count),
        "scan": count * stages[-1].dimension,
        "recall": recall,
    }


def _cheapest(settings: Mapping[str, Any], model: Funnel) -> Measured:
    """See `plan`."""
    most, count, k = settings["most_stages"], settings["count"], settings["k"]
    plans = [one for one in model.plans if not most or len(one.stages) <= most]
    reached = [one for one in plans if one.recall.low >= settings["recall"]]
    if not reached or k > model.k:
        best = max(plans, key=lambda measured: measured.recall.low).recall
        raise InvalidRequestError(
            f"expected k of at most {model.k} and a recall of at most {best.low:.4f}, the "
            f"lower bound of the best measured plan; got {k!r} and {settings['recall']!r}"
        )
    growth = count / model.count
    return min(reached, key=lambda measured: cost(grown(measured.stages, growth), count))


def grown(stages: Sequence[Stage], growth: float) -> tuple[Stage, ...]:
    """The plan among so many times the items that it was measured on: shortlists grow with them."""
    times = max(growth, 1.0)
    shortlists = [
        stage.model_copy(update={"keep": ceil(stage.keep * times)}) for stage in stages[:-1]
    ]
    return (*shortlists, stages[-1])


def figures(model: Funnel) -> dict[str, Any]:
    """`items` that were searched, `queries`, `k`, and every measured plan, the cheapest first.

    Of a plan its `stages` (`dimension` and `keep`), its `recall` with its interval, and its
    `multiplications` per query among those items.
    """
    plans = [
        measured.model_dump() | {"multiplications": cost(measured.stages, model.count)}
        for measured in model.plans
    ]
    return {
        "items": model.count,
        "queries": model.plans[0].recall.count,
        "k": model.k,
        "plans": sorted(plans, key=lambda told: int(told["multiplications"])),
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
    figures=figures,
    model=Funnel,
    defaults={
        "kind": "funnel",
        "k": 10,
        "shortlist": 200,
        "start": 8,
        "trained": (8, 16, 32, 64, 128, 2048),
        "recall": 0.98,
        "count": 1_000_000,
        "most_stages": 0,  # of a plan; 0: any number. A search of a collection takes two
        "most_queries": 500,  # that plans are measured on
    },
    bounds={
        "k": NEIGHBOURS,
        "shortlist": Bounds(1, MOST_SHORTLIST),
        "start": LENGTH,
        "trained": LENGTH,
        "recall": SHARE,
        "count": Bounds(1, MOST_ITEMS),
        "most_stages": Bounds(0, MOST_STAGES),
        "most_queries": Bounds(1, MOST_QUERIES),
    },
    rows=(251,),
    summary="Plans of prefixes and shortlists: the authors', or the cheapest that was measured.",
)

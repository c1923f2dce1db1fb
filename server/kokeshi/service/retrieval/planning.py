"""The shortlist of a search in two stages: what a fit says of it, and what searches made of it.

A retriever's plan is measured on a sample, by numbers as they are. The store rounds them for its
first stage, and a short prefix with a short shortlist does not carry that: so what searches take is
measured on the store, and widened until it keeps what was asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from kokeshi import index
from kokeshi.errors import InvalidRequestError, NotFoundError, UnavailableError
from kokeshi.index.checks import MAX_SHORTLIST
from kokeshi.index.recall.interval import Tally
from kokeshi.plugin import Retriever, Sample, go_on
from kokeshi.service.collections.ground import Ground
from kokeshi.service.retrieval.keeping import Keeper
from kokeshi.service.retrieval.records import Fitted

STAGES: Final = 2  # of a search: a shortlist by a prefix, ranked by the full length
SCANNED: Final = frozenset({"flat", "codes"})  # a graph or lists have a prefix of their own
QUERIES: Final = 100  # items that are asked for, to measure a shortlist
AT_ONCE: Final = 10  # of them
WIDER: Final = 2  # the next shortlist, where one finds too little
WORTH: Final = 0.5  # of the items: a longer shortlist spares nothing
RECALL: Final = "recall"  # a setting: what a plan keeps at least
SEARCH, MISSING = "search", "search_missing"  # figures: what searches take, or why nothing


@dataclass(frozen=True)
class Planned:
    """A shortlist, and what searches with it found; it holds for `k` and for so many `items`."""

    dimension: int
    shortlist: int
    k: int
    items: int
    recall: Mapping[str, float]

    def among(self, count: int) -> index.Shortlist:
        """The same share of another number of items, never fewer than were measured."""
        rows = ceil(self.shortlist * max(1.0, count / self.items))
        return index.Shortlist(self.dimension, rows)


class Planning:
    """See `kokeshi.service.collections.ground.Planning`.

    Args:
        ground: the store.
        keeper: of fitted models.
        name: of the retriever, and of its fit, whose plan searches take.
    """

    def __init__(self, ground: Ground, keeper: Keeper, name: str) -> None:
        self._ground = ground
        self._keeper = keeper
        self._name = name

    def shortlist(self, info: index.CollectionInfo, k: int, tenant: str) -> index.Shortlist | None:
        """A search is never refused for want of a plan: then it goes as it would without."""
        if not self._keeper.is_keeping or refusal(self._ground.store, info):
            return None
        try:
            fitted = self._keeper.fitted(info.spec.name, self._name, tenant)
        except (NotFoundError, UnavailableError):
            return None
        told = fitted.figures.get(SEARCH)
        if told is None or fitted.retriever != self._name or fitted.space != info.spec.space:
            return None
        planned = Planned(**told)
        found = planned.among(count_of(self._ground.store, info, tenant))
        return found if k <= planned.k and found.rows <= MAX_SHORTLIST else None


def figures_of(
    ground: Ground,
    info: index.CollectionInfo,
    retriever: Retriever,
    fitted: Fitted,
    made: tuple[Sample, BaseModel],
    tenant: str,
) -> dict[str, Any]:
    """What a fit measured; of one that plans, its `plan` and the `search` that follows.

    Instead of either stands `plan_missing` or `search_missing`, which say why.
    """
    sample, model = made
    told = dict(retriever.figures(model)) if retriever.figures else {}
    if retriever.plan is None:
        return told
    count = count_of(ground.store, info, tenant)
    asked = {"count": count, "most_stages": STAGES}
    own = {name: value for name, value in asked.items() if name in retriever.defaults}
    try:
        told["plan"] = dict(retriever.plan({**fitted.settings, **own}, model))
    except InvalidRequestError as error:
        return told | {"plan_missing": str(error)}
    stages = told["plan"].get("stages")
    if stages is None:  # it says something else than which shortlist does
        return told
    reason = refusal(ground.store, info) or _unfit(info.spec, stages)
    if reason:
        return told | {MISSING: reason}
    least = fitted.settings.get(RECALL, 0.0)
    found = _Measuring(ground.store, info.spec, sample, tenant).widened(stages, count, least)
    if found is None:
        reason = (
            f"no shortlist from the plan's {stages[0]['keep']} to half the {count} items keeps a "
            f"recall of {least!r}"
        )
        return told | {MISSING: reason}
    return told | {SEARCH: asdict(found)}


def count_of(store: index.Store, info: index.CollectionInfo, tenant: str) -> int:
    """Items of a tenant."""
    return info.count if info.tenants <= 1 else store.count(info.spec.name, tenant=tenant)


def refusal(store: index.Store, info: index.CollectionInfo) -> str:
    """Why searches of a collection take no plan; "" where they do."""
    if info.spec.metric != "cosine":
        return f"plans are measured by cosines, and the collection's metric is {info.spec.metric!r}"
    if info.kind not in SCANNED:
        return f"the collection's index is {info.kind!r}, which has a prefix of its own"
    if not store.capabilities.prefixes:
        return "the store takes every shortlist by a prefix of its own"
    return ""


def _unfit(spec: index.CollectionSpec, stages: Sequence[Mapping[str, Any]]) -> str:
    lengths = [stage["dimension"] for stage in stages]
    if len(lengths) == STAGES and lengths[-1] == spec.dim and lengths[0] in spec.trained:
        return ""
    return f"a search goes from a trained length to {spec.dim}, the plan's lengths are {lengths}"


class _Measuring:
    """Searches the store for its own items, each left out of its own neighbours."""

    def __init__(
        self, store: index.Store, spec: index.CollectionSpec, sample: Sample, tenant: str
    ) -> None:
        few = min(QUERIES, len(sample.ids))
        random = np.random.default_rng(sample.seed)
        rows = random.choice(len(sample.ids), few, replace=False)
        self._ids = [sample.ids[row] for row in rows]
        self._queries: NDArray[np.float32] = sample.vectors[rows]
        self._store, self._spec, self._tenant = store, spec, tenant

    def widened(
        self, stages: Sequence[Mapping[str, Any]], count: int, least: float
    ) -> Planned | None:
        """The plan's shortlist, or the first wider one that surely finds `least`."""
        rows, k = stages[0]["keep"], stages[-1]["keep"]
        wanted = self._found(index.SearchParams(k + 1, exact=True, tenant=self._tenant), k)
        while rows <= min(WORTH * count, MAX_SHORTLIST):
            params = index.SearchParams(
                k + 1,
                stages[0]["dimension"],
                rerank=True,
                shortlist=max(rows, k + 1),
                tenant=self._tenant,
            )
            recall = _recall(wanted, self._found(params, k))
            if recall is not None and recall.low >= least:
                told = {**vars(recall)}
                told["count"] = told.pop("samples")
                return Planned(stages[0]["dimension"], rows, k, count, told)
            rows *= WIDER
        return None

    def _found(self, params: index.SearchParams, k: int) -> list[set[str]]:
        """Ids of the k nearest of each query."""
        found: list[set[str]] = []
        for start in range(0, len(self._ids), AT_ONCE):
            go_on()
            some = self._queries[start : start + AT_ONCE]
            answer = self._store.search(self._spec.name, some, params, space=self._spec.space)
            for own, hits in zip(self._ids[start:], answer.hits, strict=False):
                found.append({hit.id for hit in [hit for hit in hits if hit.id != own][:k]})
        return found


def _recall(wanted: Sequence[set[str]], found: Sequence[set[str]]) -> index.RecallEstimate | None:
    tally = Tally()
    for true, ours in zip(wanted, found, strict=True):
        if true:
            tally.add(len(true & ours), len(true))
    return tally.estimate()

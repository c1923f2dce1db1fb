"""Why an item is, or is not, among the hits of a search."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kokeshi import index
from kokeshi.errors import InvalidRequestError, ItemNotFoundError
from kokeshi.index.filters import ID, And, Equals
from kokeshi.index.geometry import Geometry
from kokeshi.service.collections.ground import Ground
from kokeshi.service.collections.searching import Search, Searching, route_of
from kokeshi.service.search_types import (
    BlockScore,
    DimensionScore,
    Explanation,
    SearchOptions,
    Stage,
)
from kokeshi.service.types import Input


class Explaining:
    """The call `Service.explain`."""

    def __init__(self, ground: Ground, searching: Searching) -> None:
        self._ground = ground
        self._searching = searching

    async def explain(
        self,
        name: str,
        inputs: Sequence[Input],
        item_id: str,
        asked: SearchOptions,
        timeout_s: float | None,
    ) -> Explanation:
        """See `Service.explain`."""
        if len(inputs) + len(asked.query_ids) + len(asked.examples) != 1:
            raise InvalidRequestError("an explanation is of exactly one query")
        if asked.group_by or asked.collapse is not None or asked.page_token:
            raise InvalidRequestError("an explanation is of plain hits: no groups, folds or pages")
        search = await self._searching.prepare(name, inputs, asked, timeout_s)
        return await self._ground.call(lambda: self._explained(search, item_id))

    def _explained(self, search: Search, item_id: str) -> Explanation:
        spare = len(search.left_out[0])
        width = min(search.k + spare, self._ground.limits.max_k)
        found = self._searching.run(search, replace(search.params, k=width))
        rest = [hit.id for hit in found.hits[0] if hit.id not in search.left_out[0]][: search.k]
        told = Explanation(
            Stage.NOT_STORED, None, route_of(found), found.higher_is_better, sequence=found.seq
        )
        try:
            (item,) = self._ground.store.get(
                search.spec.name, [item_id], with_vectors=True, tenant=search.params.tenant
            )
        except ItemNotFoundError:
            return told
        assert item.vector is not None  # asked for
        fits = self._fits(search, item_id)
        scores = self._scores(search, item_id, item.vector, fits)
        rank = rest.index(item_id) + 1 if item_id in rest else None
        stage = Stage.FOUND if rank else self._stage(search, item_id, scores, found, fits)
        return replace(
            told,
            stage=stage,
            rank=rank,
            dimensions=scores,
            blocks=blocks(search.spec, item.vector, search.queries.matrix[0]),
        )

    def _fits(self, search: Search, item_id: str) -> bool:
        if search.params.filter is None:
            return True
        wanted = And((search.params.filter, Equals(ID, item_id)))
        tenant = search.params.tenant
        return self._ground.store.count(search.spec.name, filter=wanted, tenant=tenant) > 0

    def _scores(
        self, search: Search, item_id: str, vector: NDArray[np.float32], fits: bool
    ) -> Sequence[DimensionScore]:
        """At every trained length that the query has."""
        query = search.queries.matrix[0]
        lengths = [length for length in search.spec.trained if length <= len(query)]
        return [
            DimensionScore(
                length,
                score_of(search.spec, vector, query, length),
                self._rank(search, item_id, length) if fits else None,
            )
            for length in lengths
        ]

    def _rank(self, search: Search, item_id: str, length: int) -> int | None:
        """Among all that may be found, by comparing every one of them."""
        params = replace(
            search.params,
            k=self._ground.limits.max_k,
            dimension=length,
            exact=True,
            rerank=False,
            shortlist=None,
            breadth=None,
            threshold=None,
            with_vectors=False,
        )
        query = search.queries.matrix[:, :length]
        found = self._ground.store.search(search.spec.name, query, params, space=search.spec.space)
        ids = [hit.id for hit in found.hits[0]]
        return ids.index(item_id) + 1 if item_id in ids else None

    def _stage(
        self,
        search: Search,
        item_id: str,
        scores: Sequence[DimensionScore],
        found: index.Found,
        fits: bool,
    ) -> Stage:
        if not fits:
            return Stage.FILTER
        if item_id in search.left_out[0]:
            return Stage.EXCLUDED
        final = next(each for each in scores if each.dimension == found.dimension)
        least = search.params.threshold
        if least is not None:
            is_below = final.score < least if found.higher_is_better else final.score > least
            if is_below:
                return Stage.THRESHOLD
        # those that are left out make room for as many others
        room = search.k + len(search.left_out[0])
        return Stage.SHORTLIST if final.rank and final.rank <= room else Stage.BELOW_K


def score_of(
    spec: index.CollectionSpec,
    vector: NDArray[np.float32],
    query: NDArray[np.float32],
    length: int,
) -> float:
    """The score of an item at a trained length, as a search tells it."""
    geometry = Geometry.of(spec)
    row = geometry.block(np.zeros(1, np.int64), vector[None]).matrix
    score = float(geometry.compare(row, geometry.query(query, length))[0])
    return score if spec.higher_is_better else abs(score)


def blocks(
    spec: index.CollectionSpec, vector: NDArray[np.float32], query: NDArray[np.float32]
) -> Sequence[BlockScore]:
    """What each block between trained lengths adds; see `BlockScore`.

    None under the hyperbolic metric, which is no sum of blocks, or for a query that was cut.
    """
    if spec.metric == "hyperbolic" or len(query) < spec.dim:
        return ()
    ours, theirs = vector.astype(np.float64), query.astype(np.float64)
    terms = np.square(ours - theirs) if spec.metric == "l2" else ours * theirs
    if spec.metric == "cosine":
        terms = terms / (np.linalg.norm(ours) * np.linalg.norm(theirs))
    ends = spec.trained
    begins = (0, *ends[:-1])
    return [
        BlockScore(begin, end, float(terms[begin:end].sum()))
        for begin, end in zip(begins, ends, strict=True)
    ]

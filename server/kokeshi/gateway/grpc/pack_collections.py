"""From what the service answers about collections to protobuf messages."""

from collections.abc import Iterable
from typing import Any

import orjson

from kokeshi.gateway.grpc.pack import floats, number
from kokeshi.gateway.streaming import Answered
from kokeshi.service import types
from kokeshi.v1 import collections_pb2 as cpb


def collection(info: types.CollectionInfo) -> cpb.Collection:
    """A collection and its state."""
    return cpb.Collection(
        name=info.name,
        model=info.model,
        space=info.space,
        dimension=info.dimension,
        dimensions=info.dimensions,
        metric=info.metric,
        index=number(cpb.IndexKind, info.index),  # type: ignore[arg-type] # the stubs tell enums from int
        durability=number(cpb.Durability, info.durability),  # type: ignore[arg-type] # as above
        count=info.count,
        sequence=info.sequence,
        indexed_sequence=info.indexed_sequence,
        index_in_use=info.index_in_use,
        tail=info.tail,
        dead=info.dead,
        memory_bytes=info.memory_bytes,
        mapped_bytes=info.mapped_bytes,
        build_progress=info.build_progress,
        quarantine=info.quarantine,
        tenants=info.tenants,
        curvature=info.curvature,
    )


def aliases(told: Iterable[types.Alias]) -> list[cpb.Alias]:
    """Other names of collections."""
    return [cpb.Alias(name=alias.name, collection=alias.collection) for alias in told]


def tenants(told: Iterable[types.Tenant]) -> list[cpb.Tenant]:
    """Whose items there are."""
    return [cpb.Tenant(name=tenant.name, count=tenant.count) for tenant in told]


def item(stored: types.StoredItem) -> cpb.Item:
    """Something kept."""
    return cpb.Item(
        id=stored.id,
        metadata_json=_json(stored.metadata),
        vector=floats(stored.vector),
        sequence=stored.sequence,
        origin=stored.origin,
    )


def _json(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return orjson.dumps(value).decode()


def ingested(told: types.Ingested) -> cpb.IngestResponse:
    """Answer to one batch."""
    errors = [
        cpb.ItemError(position=each.position, id=each.id, code=each.code, message=each.message)
        for each in told.errors
    ]
    return cpb.IngestResponse(
        offset=told.offset, sequence=told.sequence, count=told.count, errors=errors
    )


def found(answer: types.Found) -> cpb.SearchResponse:
    """Answer of Search."""
    estimate = answer.recall_estimate
    return cpb.SearchResponse(
        results=_results(answer),
        space=answer.space,
        dimension=answer.dimension,
        higher_is_better=answer.higher_is_better,
        sequence=answer.sequence,
        exact=answer.exact,
        proven_exact=answer.proven_exact,
        route=_route(answer.route),
        recall_estimate=None
        if estimate is None
        else cpb.RecallEstimate(
            value=estimate.value, low=estimate.low, high=estimate.high, samples=estimate.samples
        ),
        next_page_token=answer.next_page_token,
    )


def _results(answer: types.Found) -> list[cpb.Hits]:
    if not answer.groups:
        return [cpb.Hits(hits=[_hit(hit) for hit in hits]) for hits in answer.results]
    return [cpb.Hits(groups=[_group(group) for group in groups]) for groups in answer.groups]


def _group(group: types.Group) -> cpb.Group:
    return cpb.Group(value_json=_json(group.value), hits=[_hit(hit) for hit in group.hits])


def _hit(hit: types.Hit) -> cpb.Hit:
    return cpb.Hit(
        id=hit.id,
        score=hit.score,
        metadata_json=_json(hit.metadata),
        vector=floats(hit.vector),
        collapsed_ids=hit.collapsed_ids,
    )


def _route(route: types.Route) -> cpb.Route:
    return cpb.Route(
        kind=route.kind, first=route.first, shortlist=route.shortlist, breadth=route.breadth
    )


def answered(told: Answered) -> cpb.SearchStreamResponse:
    """Answer to one search of a stream."""
    outcome = told.outcome
    if isinstance(outcome, types.Failed):
        error = cpb.CallError(code=outcome.code, message=outcome.message)
        return cpb.SearchStreamResponse(id=told.id, error=error)
    return cpb.SearchStreamResponse(id=told.id, answer=found(outcome))


def explanation(told: types.Explanation) -> cpb.Explanation:
    """Answer of Explain."""
    return cpb.Explanation(
        stage=number(cpb.Stage, told.stage),  # type: ignore[arg-type] # as above
        rank=told.rank,
        route=_route(told.route),
        higher_is_better=told.higher_is_better,
        dimensions=[
            cpb.DimensionScore(dimension=each.dimension, score=each.score, rank=each.rank)
            for each in told.dimensions
        ],
        blocks=[
            cpb.BlockScore(begin=each.begin, end=each.end, contribution=each.contribution)
            for each in told.blocks
        ],
        sequence=told.sequence,
    )

"""From protobuf messages about collections to the records that the service answers with."""

from collections.abc import Iterable

import orjson
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

from kokeshi.gateway.client.answers import floats
from kokeshi.service import types
from kokeshi.v1 import collections_pb2 as cpb


def collection(answer: cpb.Collection) -> types.CollectionInfo:
    """A collection and its state."""
    return types.CollectionInfo(
        name=answer.name,
        model=answer.model,
        space=answer.space,
        dimension=answer.dimension,
        dimensions=list(answer.dimensions),
        metric=answer.metric,
        index=_word(cpb.IndexKind, answer.index),
        durability=_word(cpb.Durability, answer.durability),
        count=answer.count,
        sequence=answer.sequence,
        indexed_sequence=answer.indexed_sequence,
        index_in_use=answer.index_in_use,
        tail=answer.tail,
        dead=answer.dead,
        memory_bytes=answer.memory_bytes,
        mapped_bytes=answer.mapped_bytes,
        build_progress=answer.build_progress if answer.HasField("build_progress") else None,
        quarantine=answer.quarantine,
        tenants=answer.tenants,
        curvature=answer.curvature if answer.HasField("curvature") else None,
    )


def _word(enum: EnumTypeWrapper, value: int) -> str:
    prefix = enum.Name(0).removesuffix("UNSPECIFIED")
    return enum.Name(value).removeprefix(prefix).lower()


def aliases(told: Iterable[cpb.Alias]) -> list[types.Alias]:
    """Other names of collections."""
    return [types.Alias(alias.name, alias.collection) for alias in told]


def tenants(told: Iterable[cpb.Tenant]) -> list[types.Tenant]:
    """Whose items there are."""
    return [types.Tenant(tenant.name, tenant.count) for tenant in told]


def items(answer: Iterable[cpb.Item]) -> list[types.StoredItem]:
    """Items that are kept."""
    return [
        types.StoredItem(
            item.id,
            orjson.loads(item.metadata_json),
            item.sequence,
            floats(item.vector),
            item.origin,
        )
        for item in answer
    ]


def ingested(answer: cpb.IngestResponse) -> types.Ingested:
    """Answer to one batch."""
    errors = [
        types.ItemError(each.position, each.id, each.code, each.message) for each in answer.errors
    ]
    return types.Ingested(answer.offset, answer.sequence, answer.count, errors)


def found(answer: cpb.SearchResponse) -> types.Found:
    """Answer of Search."""
    is_grouped = any(result.groups for result in answer.results)
    groups = [[_group(group) for group in result.groups] for result in answer.results]
    estimate = answer.recall_estimate
    return types.Found(
        [] if is_grouped else [_hits(result.hits) for result in answer.results],
        answer.space,
        answer.dimension,
        answer.higher_is_better,
        groups=groups if is_grouped else (),
        sequence=answer.sequence,
        exact=answer.exact,
        proven_exact=answer.proven_exact,
        route=_route(answer.route),
        recall_estimate=types.RecallEstimate(
            estimate.value, estimate.low, estimate.high, estimate.samples
        )
        if answer.HasField("recall_estimate")
        else None,
        next_page_token=answer.next_page_token,
    )


def _hits(hits: Iterable[cpb.Hit]) -> list[types.Hit]:
    return [
        types.Hit(
            hit.id,
            hit.score,
            orjson.loads(hit.metadata_json),
            floats(hit.vector),
            tuple(hit.collapsed_ids),
        )
        for hit in hits
    ]


def _group(group: cpb.Group) -> types.Group:
    return types.Group(orjson.loads(group.value_json), _hits(group.hits))


def _route(route: cpb.Route) -> types.Route:
    return types.Route(route.kind, route.first, route.shortlist, route.breadth)


def answered(answer: cpb.SearchStreamResponse) -> tuple[int, types.Found | types.Failed]:
    """Answer to one search of a stream."""
    if answer.WhichOneof("outcome") == "error":
        return answer.id, types.Failed(answer.error.code, answer.error.message)
    return answer.id, found(answer.answer)


def explanation(answer: cpb.Explanation) -> types.Explanation:
    """Answer of Explain."""
    return types.Explanation(
        stage=types.Stage(_word(cpb.Stage, answer.stage)),
        rank=answer.rank if answer.HasField("rank") else None,
        route=_route(answer.route),
        higher_is_better=answer.higher_is_better,
        dimensions=[
            types.DimensionScore(
                each.dimension, each.score, each.rank if each.HasField("rank") else None
            )
            for each in answer.dimensions
        ],
        blocks=[
            types.BlockScore(each.begin, each.end, each.contribution) for each in answer.blocks
        ],
        sequence=answer.sequence,
    )

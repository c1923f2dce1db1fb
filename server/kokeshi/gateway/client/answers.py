"""From protobuf messages to the records that the service itself answers with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kokeshi.card import Card
from kokeshi.engines.protocol import State
from kokeshi.service import types
from kokeshi.v1 import inputs_pb2, server_pb2, vision_pb2

_VERDICTS: Final = {
    vision_pb2.CompareResponse.VERDICT_SAME: types.Verdict.SAME,
    vision_pb2.CompareResponse.VERDICT_DIFFERENT: types.Verdict.DIFFERENT,
}


@dataclass(frozen=True)
class ServedModel:
    """A model as its server tells of it. `card` is there where one model was asked for."""

    name: str
    version: int
    state: State
    reason: str  # of a failure
    method: str
    tasks: Sequence[str]
    space: str
    dimensions: Sequence[int]
    label_count: int
    trained: bool
    card: Card | None = None


def _model(ref: inputs_pb2.ModelRef) -> types.ModelRef:
    return types.ModelRef(ref.name, ref.version)


def classified(answer: vision_pb2.ClassifyResponse) -> types.Classified:
    """Answer of Classify."""
    results = [
        types.Classification(
            [types.Label(label.name, label.index, label.score) for label in result.labels],
            result.multi_label,
        )
        for result in answer.results
    ]
    return types.Classified(_model(answer.model), results)


def segmented(answer: vision_pb2.SegmentResponse) -> types.Segmented:
    """Answer of Segment."""
    results = [
        types.Segmentation(
            result.height,
            result.width,
            [_region(region) for region in result.regions],
            result.label_map_png,
            result.foreground_png,
        )
        for result in answer.results
    ]
    return types.Segmented(_model(answer.model), results)


def _region(region: vision_pb2.Region) -> types.Region:
    kind = region.mask.WhichOneof("encoding")
    rle = region.mask.rle
    return types.Region(
        region.label,
        region.index,
        region.area_pixels,
        region.area_share,
        types.RunLengths(rle.height, rle.width, list(rle.counts)) if kind == "rle" else None,
        _polygons(region.mask.polygons) if kind == "polygons" else None,
    )


def _polygons(message: vision_pb2.Polygons) -> list[types.Polygon]:
    return [
        types.Polygon(np.array(polygon.points, np.float32).reshape(-1, 2), polygon.hole)
        for polygon in message.polygons
    ]


def embedded(answer: vision_pb2.EmbedResponse) -> types.Embedded:
    """Answer of Embed."""
    vectors = [
        types.Vector(floats(vector.values), vector.data, vector.scale) for vector in answer.vectors
    ]
    return types.Embedded(_model(answer.model), answer.space, answer.dimension, vectors)


def floats(values: Sequence[float]) -> NDArray[np.float32] | None:
    """The values of a vector; None of none."""
    return np.array(values, np.float32) if values else None


def compared(answer: vision_pb2.CompareResponse) -> types.Compared:
    """Answer of Compare."""
    return types.Compared(
        _model(answer.model),
        answer.space,
        answer.dimension,
        answer.similarity,
        answer.distance,
        _VERDICTS.get(answer.verdict, types.Verdict.NONE),
        answer.threshold if answer.HasField("threshold") else None,
    )


def model(answer: server_pb2.Model) -> ServedModel:
    """A model of the server."""
    return ServedModel(
        name=answer.name,
        version=answer.version,
        state=State(answer.state),
        reason=answer.reason,
        method=answer.method,
        tasks=list(answer.tasks),
        space=answer.space,
        dimensions=list(answer.dimensions),
        label_count=answer.label_count,
        trained=answer.trained,
        card=Card.model_validate_json(answer.card_json) if answer.card_json else None,
    )


def server_info(answer: server_pb2.ServerInfo) -> types.ServerInfo:
    """What the server is."""
    limits = types.Limits(
        max_request_bytes=answer.limits.max_request_bytes,
        max_image_bytes=answer.limits.max_image_bytes,
        max_image_pixels=answer.limits.max_image_pixels,
        max_inputs=answer.limits.max_inputs,
        max_k=answer.limits.max_k,
    )
    return types.ServerInfo(
        answer.version, answer.engine, list(answer.providers), answer.uptime_s, limits
    )

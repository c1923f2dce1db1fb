"""From what the service answers to protobuf messages."""

from collections.abc import Sequence

import numpy as np
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from numpy.typing import NDArray

from kokeshi.gateway.models import dimensions
from kokeshi.service import types
from kokeshi.v1 import inputs_pb2, server_pb2, vision_pb2


def number(enum: EnumTypeWrapper, word: str) -> int:
    """The enum's value for a word of the service; "none" is its unspecified one."""
    prefix = enum.Name(0).removesuffix("UNSPECIFIED")
    return 0 if word == "none" else enum.Value(prefix + word.upper())


def _model(ref: types.ModelRef) -> inputs_pb2.ModelRef:
    return inputs_pb2.ModelRef(name=ref.name, version=ref.version)


def classified(answer: types.Classified) -> vision_pb2.ClassifyResponse:
    """Answer of Classify."""
    results = [
        vision_pb2.Classification(
            labels=[
                vision_pb2.Label(name=label.name, index=label.index, score=label.score)
                for label in result.labels
            ],
            multi_label=result.multi_label,
        )
        for result in answer.results
    ]
    return vision_pb2.ClassifyResponse(model=_model(answer.model), results=results)


def segmented(answer: types.Segmented) -> vision_pb2.SegmentResponse:
    """Answer of Segment."""
    results = [
        vision_pb2.Segmentation(
            height=result.height,
            width=result.width,
            label_map_png=result.label_map_png,
            foreground_png=result.foreground_png,
            regions=[_region(region) for region in result.regions],
        )
        for result in answer.results
    ]
    return vision_pb2.SegmentResponse(model=_model(answer.model), results=results)


def _region(region: types.Region) -> vision_pb2.Region:
    return vision_pb2.Region(
        label=region.label,
        index=region.index,
        area_pixels=region.area_pixels,
        area_share=region.area_share,
        mask=_mask(region),
    )


def _mask(region: types.Region) -> vision_pb2.Mask | None:
    if region.rle is not None:
        rle = region.rle
        lengths = vision_pb2.RunLengths(height=rle.height, width=rle.width, counts=rle.counts)
        return vision_pb2.Mask(rle=lengths)
    if region.polygons is not None:
        rings = [
            vision_pb2.Polygon(points=polygon.points.ravel(), hole=polygon.hole)
            for polygon in region.polygons
        ]
        return vision_pb2.Mask(polygons=vision_pb2.Polygons(polygons=rings))
    return None


def embedded(answer: types.Embedded) -> vision_pb2.EmbedResponse:
    """Answer of Embed."""
    vectors = [
        vision_pb2.Vector(
            values=floats(vector.values),
            data=vector.data,
            scale=vector.scale,
        )
        for vector in answer.vectors
    ]
    return vision_pb2.EmbedResponse(
        model=_model(answer.model),
        space=answer.space,
        dimension=answer.dimension,
        vectors=vectors,
    )


def floats(values: NDArray[np.float32] | None) -> Sequence[float]:
    """The values of a vector; none of None."""
    return () if values is None else values.tolist()


def compared(answer: types.Compared) -> vision_pb2.CompareResponse:
    """Answer of Compare."""
    return vision_pb2.CompareResponse(
        model=_model(answer.model),
        space=answer.space,
        dimension=answer.dimension,
        similarity=answer.similarity,
        distance=answer.distance,
        verdict=number(vision_pb2.CompareResponse.Verdict, answer.verdict),  # type: ignore[arg-type] # the stubs tell enums from int
        threshold=answer.threshold,
    )


def model(info: types.ModelInfo, *, with_card: bool = False) -> server_pb2.Model:
    """A model of the repository."""
    card = info.card
    message = server_pb2.Model(
        name=info.name, version=info.version, state=info.state, reason=info.reason
    )
    if card is not None:
        message.method = card.method
        message.tasks.extend(card.tasks)
        message.space = card.space
        message.dimensions.extend(dimensions(card))
        message.label_count = len(card.labels)
        message.trained = card.checkpoint.trained
        message.card_json = card.model_dump_json() if with_card else ""
    return message


def server_info(info: types.ServerInfo) -> server_pb2.ServerInfo:
    """What this server is."""
    limits = info.limits
    return server_pb2.ServerInfo(
        name="kokeshi",
        version=info.version,
        engine=info.engine,
        providers=info.providers,
        uptime_s=info.uptime_s,
        limits=server_pb2.Limits(
            max_request_bytes=limits.max_request_bytes,
            max_image_bytes=limits.max_image_bytes,
            max_image_pixels=limits.max_image_pixels,
            max_inputs=limits.max_inputs,
            max_k=limits.max_k,
        ),
    )

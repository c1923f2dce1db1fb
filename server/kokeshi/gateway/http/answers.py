"""Bodies of the REST answers, read off the service's records by their field names.

Names follow proto/kokeshi/v1, but that metadata and cards are JSON objects here. Fields that say
nothing are left out.
"""

from base64 import b64encode
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
import orjson
from fastapi import Response
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from kokeshi.gateway.models import dimensions
from kokeshi.service import types

# numpy arrays pass through: orjson writes them faster than lists, and float32 in its shortest form
Floats = Annotated[Any, WithJsonSchema({"type": "array", "items": {"type": "number"}})]
# bytes as base64; none where there are none
Base64 = Annotated[
    bytes | None,
    BeforeValidator(lambda data: data or None),
    PlainSerializer(lambda data: data and b64encode(data).decode(), return_type=str | None),
    WithJsonSchema({"type": "string", "format": "byte"}),
]


class Answer(BaseModel):
    """Part of an answer."""

    model_config = ConfigDict(from_attributes=True, arbitrary_types_allowed=True)


def respond(answer: BaseModel, status: int = 200, *, nulls: bool = False) -> Response:
    """An answer on its way out; fields that are None are left out, or `null`."""
    content = answer.model_dump(exclude_none=not nulls)
    data = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(data, status, media_type="application/json")


class ModelRef(Answer):
    """The model that answered."""

    name: str
    version: int


class Label(Answer):
    """One class."""

    name: str
    index: int
    score: float


class Classification(Answer):
    """Labels of one input, best first."""

    labels: list[Label]
    multi_label: bool


class ClassifyResponse(Answer):
    """Answer of Classify."""

    model: ModelRef
    results: list[Classification]


class RunLengths(Answer):
    """COCO's uncompressed form: lengths of runs in column-major order, zeros first."""

    height: int
    width: int
    counts: list[int]


class Polygon(Answer):
    """x1, y1, x2, y2 ...; a hole is cut out of the polygon before it."""

    points: Floats
    hole: bool

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, polygon: types.Polygon) -> dict[str, Any]:
        return {"points": np.ascontiguousarray(polygon.points).ravel(), "hole": polygon.hole}


class Polygons(Answer):
    """Outlines of one region."""

    polygons: list[Polygon]


class Mask(Answer):
    """Where a region is, in the format asked for."""

    rle: RunLengths | None = None
    polygons: Polygons | None = None


class Region(Answer):
    """All pixels of one class."""

    label: str
    index: int
    area_pixels: int
    area_share: float
    mask: Mask | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_mask(cls, region: types.Region) -> dict[str, Any]:
        polygons = None if region.polygons is None else {"polygons": region.polygons}
        masked = region.rle is not None or polygons is not None
        return {
            "label": region.label,
            "index": region.index,
            "area_pixels": region.area_pixels,
            "area_share": region.area_share,
            "mask": {"rle": region.rle, "polygons": polygons} if masked else None,
        }


class Segmentation(Answer):
    """Classes of the pixels of one image, at its own size."""

    height: int
    width: int
    label_map_png: Base64 = None
    foreground_png: Base64 = None
    regions: list[Region]


class SegmentResponse(Answer):
    """Answer of Segment."""

    model: ModelRef
    results: list[Segmentation]


class Vector(Answer):
    """One embedding: float32 values, or data in another encoding."""

    values: Floats = None
    data: Base64 = None
    scale: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _sparse(cls, vector: types.Vector) -> dict[str, Any]:
        return {"values": vector.values, "data": vector.data, "scale": vector.scale or None}


class EmbedResponse(Answer):
    """Answer of Embed."""

    model: ModelRef
    space: str
    dimension: int
    vectors: list[Vector]


class CompareResponse(Answer):
    """Answer of Compare."""

    model: ModelRef
    space: str
    dimension: int
    similarity: float
    distance: float
    verdict: Literal["none", "same", "different"]
    threshold: float | None = None


class Collection(Answer):
    """A collection and its state."""

    name: str
    model: str
    space: str
    dimension: int
    dimensions: list[int]
    metric: str
    index: str
    durability: str
    count: int
    sequence: int
    indexed_sequence: int
    index_in_use: str


class ListCollectionsResponse(Answer):
    """Answer of ListCollections."""

    collections: list[Collection]


class DeleteCollectionResponse(Answer):
    """Answer of DeleteCollection: nothing."""


class Written(Answer):
    """Acknowledgement of a write."""

    count: int
    sequence: int


class Item(Answer):
    """Something kept."""

    id: str
    metadata: dict[str, Any]
    vector: Floats = None
    sequence: int


class GetItemsResponse(Answer):
    """Answer of GetItems."""

    items: list[Item]


class ListItemsResponse(GetItemsResponse):
    """Answer of ListItems; an empty token says that it was the last page."""

    next_page_token: str


class Hit(Answer):
    """A neighbour."""

    id: str
    score: float
    metadata: dict[str, Any]
    vector: Floats = None


class Hits(Answer):
    """Neighbours of one query, best first."""

    hits: list[Hit]

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, hits: Sequence[types.Hit]) -> dict[str, Any]:
        return {"hits": hits}


class SearchResponse(Answer):
    """Answer of Search."""

    results: list[Hits]
    space: str
    dimension: int
    higher_is_better: bool


class Model(Answer):
    """A model of the repository; the first four fields are those of OpenAI's clients."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0  # not known: a version folder is what it is at any time
    owned_by: str = "kokeshi"
    name: str
    version: int
    state: str
    reason: str
    method: str = ""
    tasks: list[str] = []
    space: str = ""
    dimensions: list[int] = []
    label_count: int = 0
    trained: bool = False
    card: dict[str, Any] | None = None

    @classmethod
    def of(cls, info: types.ModelInfo, *, with_card: bool = False) -> Self:
        """What is known of a model."""
        card = info.card
        told = cls(
            id=info.name,
            name=info.name,
            version=info.version,
            state=info.state,
            reason=info.reason,
        )
        if card is not None:
            told.method = card.method
            told.tasks = list(card.tasks)
            told.space = card.space
            told.dimensions = list(dimensions(card))
            told.label_count = len(card.labels)
            told.trained = card.checkpoint.trained
            told.card = card.model_dump(mode="json") if with_card else None
        return told


class ListModelsResponse(Answer):
    """Answer of ListModels, in the form of OpenAI's own."""

    object: Literal["list"] = "list"
    data: list[Model]


class Limits(Answer):
    """Sizes that requests must keep."""

    max_request_bytes: int
    max_image_bytes: int
    max_image_pixels: int
    max_inputs: int
    max_k: int


class ServerInfo(Answer):
    """What this server is."""

    name: Literal["kokeshi"] = "kokeshi"
    version: str
    engine: str
    providers: list[str]
    uptime_s: float
    limits: Limits


class Health(Answer):
    """Answer of the health checks."""

    status: Literal["live", "ready"]


class ErrorBody(Answer):
    """What went wrong."""

    code: str
    message: str
    request_id: str


class ErrorResponse(Answer):
    """Answer of every request that failed."""

    error: ErrorBody


class Embedding(Answer):
    """One vector, as OpenAI's clients read it."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: Annotated[
        Any,
        WithJsonSchema(
            {"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}]}
        ),
    ]


class Usage(Answer):
    """Tokens read of texts."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(Answer):
    """Answer of OpenAI's embeddings call."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class OpenAIErrorBody(Answer):
    """What went wrong, as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: str | None
    request_id: str


class OpenAIErrorResponse(Answer):
    """Answer of an embeddings call that failed."""

    error: OpenAIErrorBody

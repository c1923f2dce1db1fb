"""Answers of the service Vision."""

from typing import Any, Literal

import numpy as np
from pydantic import model_validator

from kokeshi.gateway.http.answers import Answer, Base64, Floats
from kokeshi.service import types


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

"""What the service is asked and what it answers: no wire, no Triton, no FAISS."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from kokeshi.card import Card
from kokeshi.engines.protocol import State
from kokeshi.service.collection_types import (
    Alias,
    CollectionInfo,
    CollectionLimits,
    IngestBatch,
    Ingested,
    IngestOptions,
    ItemError,
    ItemPage,
    NewItem,
    OnConflict,
    StoredItem,
    Tenant,
    Unreadable,
    Written,
)
from kokeshi.service.inputs import Audio, Image, Input, Tensor, Text
from kokeshi.service.search_types import (
    BlockScore,
    DimensionScore,
    Example,
    Examples,
    Explanation,
    Failed,
    Found,
    Group,
    Hit,
    RecallEstimate,
    Route,
    SearchMode,
    SearchOptions,
    SearchWords,
    Stage,
)

__all__ = [
    "Alias",
    "Audio",
    "BlockScore",
    "Classification",
    "Classified",
    "CollectionInfo",
    "CollectionLimits",
    "Compared",
    "DimensionScore",
    "Embedded",
    "Encoding",
    "Example",
    "Examples",
    "Explanation",
    "Failed",
    "Found",
    "Group",
    "Hit",
    "Image",
    "IngestBatch",
    "IngestOptions",
    "Ingested",
    "Input",
    "ItemError",
    "ItemPage",
    "Label",
    "Limits",
    "MaskFormat",
    "ModelInfo",
    "ModelRef",
    "NewItem",
    "OnConflict",
    "Polygon",
    "RecallEstimate",
    "Region",
    "Route",
    "RunLengths",
    "SearchMode",
    "SearchOptions",
    "SearchWords",
    "Segmentation",
    "Segmented",
    "ServerInfo",
    "Stage",
    "StoredItem",
    "Tenant",
    "Tensor",
    "Text",
    "Unreadable",
    "Vector",
    "Verdict",
    "Written",
]


@dataclass(frozen=True)
class ModelRef:
    """The model that answered."""

    name: str
    version: int


@dataclass(frozen=True)
class Label:
    """One class with its score in [0, 1]."""

    name: str
    index: int
    score: float


@dataclass(frozen=True)
class Classification:
    """Labels of one input, best first."""

    labels: Sequence[Label]
    multi_label: bool = False


@dataclass(frozen=True)
class Classified:
    """Answer of `classify`."""

    model: ModelRef
    results: Sequence[Classification]


class MaskFormat(StrEnum):
    """How masks are written."""

    PNG = "png"
    RLE = "rle"
    POLYGONS = "polygons"


@dataclass(frozen=True)
class RunLengths:
    """COCO's uncompressed form: lengths of runs in column-major order, zeros first."""

    height: int
    width: int
    counts: Sequence[int]


@dataclass(frozen=True)
class Polygon:
    """A closed ring, float32 (points, 2) of x and y; pixel (0, 0) has its centre at 0, 0."""

    points: NDArray[np.float32]
    hole: bool = False  # cut out of the polygon before it


@dataclass(frozen=True)
class Region:
    """All pixels of one class."""

    label: str
    index: int
    area_pixels: int
    area_share: float
    rle: RunLengths | None = None  # format RLE
    polygons: Sequence[Polygon] | None = None  # format POLYGONS


@dataclass(frozen=True)
class Segmentation:
    """Classes of the pixels of one image, at its own size. PNGs where that format was asked for."""

    height: int
    width: int
    regions: Sequence[Region]  # largest first
    label_map_png: bytes = b""
    foreground_png: bytes = b""  # foreground models


@dataclass(frozen=True)
class Segmented:
    """Answer of `segment`."""

    model: ModelRef
    results: Sequence[Segmentation]


class Encoding(StrEnum):
    """How vectors are written."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"
    BINARY = "binary"


@dataclass(frozen=True)
class Vector:
    """One embedding: `values` float32 (dim,), or `data` in another encoding."""

    values: NDArray[np.float32] | None = None
    data: bytes = b""
    scale: float = 0.0  # INT8: value = int8 * scale


@dataclass(frozen=True)
class Embedded:
    """Answer of `embed`."""

    model: ModelRef
    space: str
    dimension: int
    vectors: Sequence[Vector]
    tokens: int = 0  # texts: tokens read, the start and end marks included


class Verdict(StrEnum):
    """Answer to "are they the same?"."""

    NONE = "none"  # no calibrated threshold at this dimension
    SAME = "same"
    DIFFERENT = "different"


@dataclass(frozen=True)
class Compared:
    """Answer of `compare`."""

    model: ModelRef
    space: str
    dimension: int
    similarity: float  # cosine in [-1, 1]; of points of a ball, as its centre sees them
    distance: float  # L2; hyperbolic in such a space
    verdict: Verdict = Verdict.NONE
    threshold: float | None = None


@dataclass(frozen=True)
class ModelInfo:
    """A model of the repository. `card` is None when it could not be read."""

    name: str
    version: int
    state: State
    reason: str
    card: Card | None


@dataclass(frozen=True)
class Limits:
    """Sizes that requests must keep; each is a setting."""

    max_request_bytes: int = 64 * 2**20
    max_image_bytes: int = 32 * 2**20
    max_image_pixels: int = 64 * 10**6
    max_inputs: int = 256  # per call
    max_k: int = 10_000


@dataclass(frozen=True)
class ServerInfo:
    """What this server is."""

    version: str
    engine: str
    providers: Sequence[str]
    uptime_s: float
    limits: Limits

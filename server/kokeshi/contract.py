"""The words in which a method, its artefact and the server speak of inputs and outputs.

Plugins write these records, the card stores them, the server obeys them. Nothing here knows torch,
Triton or the wire.
"""

from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Metric = Literal["cosine", "ip", "l2", "hyperbolic"]
MAX_CURVATURE: Final = 1e6


class Record(BaseModel):
    """A frozen record whose unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Task(StrEnum):
    """What a model can be asked."""

    CLASSIFICATION = "classification"
    SEGMENTATION = "segmentation"
    EMBEDDING = "embedding"


class Resize(StrEnum):
    """How an image of any size becomes height x width."""

    SHORTEST = "shortest"  # shorter side to `resize_size`, then the centre is cropped
    SQUASH = "squash"  # both sides to the target; the aspect ratio is lost
    PAD = "pad"  # longer side fits, the rest is filled with black on the right and below


class Interpolation(StrEnum):
    """Resampling filters, named as torchvision and Pillow name them; all are antialiased."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"


class ImageInput(Record):
    """An image tensor: uint8 (N, height, width, 3), RGB.

    The graph holds the normalisation `(x / 255 - mean) / std`; `mean` and `std` stand here so that
    a reader can check them.
    """

    kind: Literal["image"] = "image"
    name: str = "image"
    height: int = Field(gt=0)
    width: int = Field(gt=0)
    resize: Resize = Resize.SHORTEST
    resize_size: int | None = Field(default=None, gt=0)  # None: min(height, width), no margin
    interpolation: Interpolation = Interpolation.BILINEAR
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


class TextInput(Record):
    """Token ids: int64 (N, context_length), made by the tokeniser file of the model folder."""

    kind: Literal["text"] = "text"
    name: str = "tokens"
    context_length: int = Field(gt=0)
    tokenizer: str = "tokenizer.json"  # file in the model folder, `tokenizers` format
    tokenizer_sha256: str = ""  # filled in at export
    pad_id: int = 0
    end_id: int  # kept as the last token when a text is truncated


Input = Annotated[ImageInput | TextInput, Field(discriminator="kind")]


class Meaning(StrEnum):
    """What an output says."""

    PROBABILITIES = "probabilities"  # float32 (N, classes), rows sum to 1
    SCORES = "scores"  # float32 (N, classes), independent, each in [0, 1] (multi-label)
    EMBEDDING = "embedding"  # float32 (N, dim)
    LABEL_MAP = "label_map"  # uint8 (N, height, width), the class of each pixel
    FOREGROUND = "foreground"  # float32 (N, height, width) in [0, 1]


class Output(Record):
    """One output of a graph. `shape` leaves the batch axis out."""

    name: str
    meaning: Meaning
    shape: tuple[int, ...]
    # Embeddings only.
    dimensions: tuple[int, ...] = ()  # prefix lengths it was trained for, ascending, full one last
    metric: Metric = "cosine"  # "hyperbolic": points of the Poincare ball of curvature -curvature
    curvature: float = Field(1.0, gt=0, le=MAX_CURVATURE)
    normalised: bool = True  # rows have unit L2 norm
    # Probabilities only: the prefix length of the embedding that this head reads; None is the full.
    dimension: int | None = None
    # Parity bound in the measure of `meaning` (kokeshi.export.verify); None is the house's.
    tolerance: float | None = None

    @model_validator(mode="after")
    def _dimensions_ascend_to_the_full_length(self) -> Self:
        dims = self.dimensions
        if dims and (list(dims) != sorted(set(dims)) or dims[-1] != self.shape[-1]):
            raise ValueError(f"dimensions {dims} must ascend to the full length {self.shape[-1]}")
        return self

    @model_validator(mode="after")
    def _points_of_a_ball_are_whole_and_as_given(self) -> Self:
        if self.metric != "hyperbolic":
            if self.curvature != 1.0:
                raise ValueError("curvature goes with the hyperbolic metric only")
            return self
        if self.normalised:
            raise ValueError("points of a hyperbolic space lie inside a ball: normalised is false")
        if self.dimensions not in {(), self.shape[-1:]}:
            raise ValueError("points of a hyperbolic space have no prefixes: one dimension")
        return self

    @model_serializer(mode="wrap")
    def _without_a_curvature_that_says_nothing(
        self, write: SerializerFunctionWrapHandler
    ) -> dict[str, Any]:
        """Servers from before the field existed take no name that they do not know."""
        fields: dict[str, Any] = write(self)
        if self.metric != "hyperbolic":
            del fields["curvature"]
        return fields

    @property
    def task(self) -> Task:
        """The task that this output answers."""
        return _TASKS[self.meaning]


_TASKS = {
    Meaning.PROBABILITIES: Task.CLASSIFICATION,
    Meaning.SCORES: Task.CLASSIFICATION,
    Meaning.EMBEDDING: Task.EMBEDDING,
    Meaning.LABEL_MAP: Task.SEGMENTATION,
    Meaning.FOREGROUND: Task.SEGMENTATION,
}

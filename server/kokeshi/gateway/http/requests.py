"""Bodies and options of the REST requests. JSON is read strictly; forms and queries are texts.

Here are those of models, and what all have in common; the others are in `collection_bodies` and
`retrieval_bodies`. Names follow proto/kokeshi/v1, but that metadata is a JSON object here, and
enums are plain words.
"""

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from kokeshi.service.types import Encoding, MaskFormat

MAX_UINT32: Final = 2**32 - 1

Count = Annotated[int, Field(ge=0, le=MAX_UINT32)]
Share = Annotated[float, Field(allow_inf_nan=False)]
# JSON has no enums: words are read leniently where all else is strict.
_Format = Annotated[MaskFormat, Field(strict=False)]
_Encoding = Annotated[Encoding, Field(strict=False)]
_Form = Annotated[str, WithJsonSchema({"type": "string", "enum": ["float", "base64"]})]
_Modality = Annotated[
    str | None, WithJsonSchema({"type": "string", "enum": ["text", "image"], "nullable": True})
]


class Body(BaseModel):
    """A request whose unknown fields are errors."""

    model_config = ConfigDict(strict=True, extra="forbid")


class TensorBody(Body):
    """Raw values, little-endian in C order, as base64; or a plain list of float32 values."""

    data_type: str = Field("", description="uint8, float32 or int64; with `data`")
    shape: list[Count] = Field([], description="with `data`")
    data: str | None = Field(None, description="base64")
    values: list[float] | None = Field(None, description="float32, instead of `data`")


class InputBody(Body):
    """What a request is about: exactly one of the fields."""

    image: str | None = Field(None, description="an encoded image file: base64 or a data URI")
    text: str | None = None
    audio: str | None = Field(None, description="an encoded sound file; no model takes one yet")
    tensor: TensorBody | None = None


Inputs = Annotated[list[InputBody], Field(description="answered in order")]


class ClassifyOptions(Body):
    """How to classify."""

    version: Count = Field(0, description="0: the version that is served")
    top_k: Count | None = Field(None, description="default 5")
    threshold: Share | None = Field(None, description="only labels scoring at least this")
    dimension: Count | None = Field(None, description="which Matryoshka classifier")
    labels: list[str] = Field([], description="zero-shot: the classes to choose from")
    templates: list[str] = Field([], description="zero-shot: prompts with {} for the class")


class ClassifyRequest(ClassifyOptions):
    """Body of Classify."""

    inputs: Inputs


class SegmentOptions(Body):
    """How to segment."""

    version: Count = 0
    format: _Format = MaskFormat.PNG
    threshold: Share | None = Field(None, description="of foreground; default 0.5")


class SegmentRequest(SegmentOptions):
    """Body of Segment."""

    inputs: Inputs


class EmbedOptions(Body):
    """How to embed."""

    version: Count = 0
    dimension: Count | None = Field(None, description="a prefix length the model was trained for")
    encoding: _Encoding = Encoding.FLOAT32
    normalised: bool | None = Field(None, description="default: as the model's space has it")


class EmbedRequest(EmbedOptions):
    """Body of Embed."""

    inputs: Inputs


class CompareOptions(Body):
    """How to compare."""

    version: Count = 0
    dimension: Count | None = None


class CompareRequest(CompareOptions):
    """Body of Compare."""

    left: InputBody
    right: InputBody


_PART: Final = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["text", "image_url", "input_text", "input_image"]},
        "text": {"type": "string"},
        "image_url": {"description": "a data URI, or an object holding it as `url`"},
    },
}
_EMBEDDABLE: Final = {
    "description": "a text or data URI, a content part, or a list of them (at most 2048)",
    "anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"anyOf": [{"type": "string"}, _PART]}},
        {"type": "array", "items": {"type": "array", "items": _PART}},
    ],
}


class EmbeddingsRequest(Body):
    """Body of OpenAI's embeddings call."""

    model: str
    input: Annotated[Any, WithJsonSchema(_EMBEDDABLE)]
    dimensions: Count | None = None
    encoding_format: _Form = "float"
    modality: _Modality = Field(None, description="image: strings are data URIs or base64")
    user: Any = Field(None, description="ignored")


REQUEST_BODIES: Final[tuple[type[Body], ...]] = (
    ClassifyRequest,
    SegmentRequest,
    EmbedRequest,
    CompareRequest,
    EmbeddingsRequest,
)

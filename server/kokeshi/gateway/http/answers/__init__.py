"""Bodies of the REST answers, read off the service's records by their field names.

Names follow proto/kokeshi/v1, but that metadata and cards are JSON objects here. Fields that say
nothing are left out.
"""

from base64 import b64encode
from typing import Annotated, Any

import orjson
from fastapi import Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

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
    """An answer on its way out; fields that are None are left out, or `null`.

    Keys that are numbers, as prefix lengths are, become text: JSON has no others.
    """
    content = answer.model_dump(exclude_none=not nulls)
    data = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    return Response(data, status, media_type="application/json")

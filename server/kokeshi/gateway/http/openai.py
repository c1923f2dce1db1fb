"""OpenAI's embeddings call, for texts and images.

Images are data URIs: as strings, as content parts (`image_url`, `input_image`), or any base64 with
`modality: "image"`, as Infinity has it. Every string or part is an input with a vector of its own.
"""

import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.aside import aside
from kokeshi.gateway.calls import current
from kokeshi.gateway.http.answers import openai as answers
from kokeshi.gateway.http.answers import respond
from kokeshi.gateway.http.answers.errors import OpenAIErrorResponse
from kokeshi.gateway.http.asked import ask_sized
from kokeshi.gateway.http.body import service_of, timeout_s
from kokeshi.gateway.http.errors import EMBEDDINGS_PATH
from kokeshi.gateway.http.json_inputs import image
from kokeshi.gateway.http.openapi import ERRORS, json_body
from kokeshi.gateway.http.requests import EmbeddingsRequest
from kokeshi.service import Service
from kokeshi.service.types import Image, Input, Text

MAX_INPUTS: Final = 2048  # OpenAI's own limit; longer than a call of the service, so it is cut up
DATA_IMAGE: Final = "data:image/"

router: Final = APIRouter(tags=["OpenAI"])


@router.post(
    EMBEDDINGS_PATH,
    name="Embeddings",
    response_model=answers.EmbeddingsResponse,
    responses={status: {**told, "model": OpenAIErrorResponse} for status, told in ERRORS.items()},
    openapi_extra=json_body(EmbeddingsRequest),
)
async def embeddings(request: Request) -> Response:
    """Vectors of texts and images, as OpenAI's clients ask for them."""
    asked, size_bytes = await ask_sized(request, EmbeddingsRequest)
    current().model = asked.model
    if asked.encoding_format not in {"float", "base64"}:
        raise InvalidRequestError(
            f"encoding_format is float or base64, not {asked.encoding_format!r}"
        )
    inputs = await aside(size_bytes, lambda: read_inputs(asked.input, asked.modality))
    rows, tokens = await _embed(service_of(request), asked, inputs, timeout_s(request))
    data = [
        answers.Embedding(index=i, embedding=_written(row, asked.encoding_format))
        for i, row in enumerate(rows)
    ]
    usage = answers.Usage(prompt_tokens=tokens, total_tokens=tokens)
    return respond(answers.EmbeddingsResponse(data=data, model=asked.model, usage=usage))


def _written(row: NDArray[np.float32], encoding: str) -> NDArray[np.float32] | str:
    return row if encoding == "float" else b64encode(row.astype("<f4").tobytes()).decode()


async def _embed(
    service: Service, asked: EmbeddingsRequest, inputs: Sequence[Input], limit_s: float | None
) -> tuple[list[NDArray[np.float32]], int]:
    """A vector for each input, and the tokens read, over as many calls as it takes.

    A call of the service takes inputs of one kind, and not more than its limit.
    """
    size = service.limits.max_inputs
    until_s = None if limit_s is None else time.monotonic() + limit_s
    found: dict[int, NDArray[np.float32]] = {}
    tokens = 0
    for kind in (Image, Text):
        places = [i for i, item in enumerate(inputs) if isinstance(item, kind)]
        for start in range(0, len(places), size):
            chosen = places[start : start + size]
            answer = await service.embed(
                asked.model,
                [inputs[i] for i in chosen],
                dimension=asked.dimensions,
                timeout_s=None if until_s is None else max(0.001, until_s - time.monotonic()),
            )
            tokens += answer.tokens
            for place, vector in zip(chosen, answer.vectors, strict=True):
                assert vector.values is not None  # float32 was asked for
                found[place] = vector.values
    return [found[i] for i in range(len(inputs))], tokens


def read_inputs(given: Any, modality: str | None) -> list[Input]:  # noqa: ANN401 - any JSON value
    """The inputs of a request.

    Args:
        given: a string, a part, or a list of strings, parts or lists of one part.
        modality: "text", "image", or None: a string is an image where it is such a data URI.

    Raises:
        InvalidRequestError: it is none of these, is empty, too long, or holds token ids.
    """
    if modality not in {None, "text", "image"}:
        raise InvalidRequestError(f"modality is text or image, not {modality!r}")
    listed = given if isinstance(given, list) else [given]
    if not 1 <= len(listed) <= MAX_INPUTS:
        raise InvalidRequestError(f"input holds 1 to {MAX_INPUTS} inputs, not {len(listed)}")
    return [_input(each, modality, f"input[{i}]") for i, each in enumerate(listed)]


def _input(given: Any, modality: str | None, place: str) -> Input:  # noqa: ANN401 - any JSON value
    if isinstance(given, list) and len(given) == 1 and isinstance(given[0], Mapping):
        given = given[0]
    try:
        match given:
            case str():
                return _from_string(given, modality)
            case {**part}:
                return _from_part(part)
            case int() | [int(), *_]:
                raise InvalidRequestError("token ids are not read; send the text itself")
            case [{}, {}, *_]:
                raise InvalidRequestError("an input of several parts cannot be embedded as one")
        raise InvalidRequestError("an input is a string or a content part")
    except InvalidRequestError as error:
        error.args = (f"{place}: {error}",)
        raise


def _from_string(text: str, modality: str | None) -> Input:
    if not text:
        raise InvalidRequestError("an input is not empty")
    is_image = text[: len(DATA_IMAGE)].lower() == DATA_IMAGE
    if modality == "image" or (modality is None and is_image):
        return image(text)
    return Text(text)


def _from_part(part: Mapping[Any, Any]) -> Input:
    match part:
        case {"type": "text" | "input_text", "text": str(text)}:
            return _from_string(text, "text")
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return _from_string(url, "image")
        case {"type": "image_url" | "input_image", "image_url": str(url)}:
            return _from_string(url, "image")
    raise InvalidRequestError(
        "a content part has type text with text, or image_url or input_image with image_url"
    )

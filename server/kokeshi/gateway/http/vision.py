"""REST routes of the service Vision."""

from typing import Final

from fastapi import APIRouter, Request, Response

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.aside import aside, segmented_bytes
from kokeshi.gateway.http import requests
from kokeshi.gateway.http.answers import respond
from kokeshi.gateway.http.answers import vision as answers
from kokeshi.gateway.http.asked import ask, ask_pair
from kokeshi.gateway.http.body import JSON, service_of, timeout_s
from kokeshi.gateway.http.openapi import bodies, pair_bodies
from kokeshi.service.types import Input, MaskFormat, Segmented

PNG: Final = "image/png"

router: Final = APIRouter(prefix="/v1/models/{model}", tags=["Vision"])


@router.post(
    "/classify",
    name="Classify",
    response_model=answers.ClassifyResponse,
    openapi_extra=bodies(requests.ClassifyRequest, requests.ClassifyOptions),
)
async def classify(model: str, request: Request) -> Response:
    """Class names with scores, best first."""
    asked, inputs = await ask(request, requests.ClassifyOptions, requests.ClassifyRequest)
    answer = await service_of(request).classify(
        model,
        inputs,
        version=asked.version,
        top_k=asked.top_k,
        threshold=asked.threshold,
        dimension=asked.dimension,
        labels=asked.labels,
        templates=asked.templates,
        timeout_s=timeout_s(request),
    )
    return respond(answers.ClassifyResponse.model_validate(answer))


@router.post(
    "/segment",
    name="Segment",
    response_model=answers.SegmentResponse,
    responses={200: {"content": {PNG: {"schema": {"type": "string", "format": "binary"}}}}},
    openapi_extra=bodies(requests.SegmentRequest, requests.SegmentOptions),
)
async def segment(model: str, request: Request) -> Response:
    """A class for every pixel. With `Accept: image/png`, one image's mask is the whole answer."""
    asked, inputs = await ask(request, requests.SegmentOptions, requests.SegmentRequest)
    as_png = _wants_png(request)
    if as_png:
        _check_one_png(inputs, asked.format)
    answer = await service_of(request).segment(
        model,
        inputs,
        version=asked.version,
        format=asked.format,
        threshold=asked.threshold,
        timeout_s=timeout_s(request),
    )
    if as_png:
        return Response(_png(answer), media_type=PNG)
    return await aside(
        segmented_bytes(answer), lambda: respond(answers.SegmentResponse.model_validate(answer))
    )


def _wants_png(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    types = [each.partition(";")[0].strip().lower() for each in accepted.split(",")]
    return PNG in types and JSON not in types


def _check_one_png(inputs: list[Input], format: MaskFormat) -> None:
    if len(inputs) != 1 or format is not MaskFormat.PNG:
        raise InvalidRequestError(
            f"an answer of type {PNG} holds the png mask of one image, "
            f"not {format} masks of {len(inputs)}"
        )


def _png(answer: Segmented) -> bytes:
    result = answer.results[0]
    return result.label_map_png or result.foreground_png


@router.post(
    "/embed",
    name="Embed",
    response_model=answers.EmbedResponse,
    openapi_extra=bodies(requests.EmbedRequest, requests.EmbedOptions),
)
async def embed(model: str, request: Request) -> Response:
    """Vectors of the model's embedding space."""
    asked, inputs = await ask(request, requests.EmbedOptions, requests.EmbedRequest)
    answer = await service_of(request).embed(
        model,
        inputs,
        version=asked.version,
        dimension=asked.dimension,
        encoding=asked.encoding,
        normalised=asked.normalised,
        timeout_s=timeout_s(request),
    )
    return respond(answers.EmbedResponse.model_validate(answer))


@router.post(
    "/compare",
    name="Compare",
    response_model=answers.CompareResponse,
    openapi_extra=pair_bodies(requests.CompareRequest, requests.CompareOptions),
)
async def compare(model: str, request: Request) -> Response:
    """How alike two inputs are."""
    asked, left, right = await ask_pair(request)
    answer = await service_of(request).compare(
        model,
        left,
        right,
        version=asked.version,
        dimension=asked.dimension,
        timeout_s=timeout_s(request),
    )
    return respond(answers.CompareResponse.model_validate(answer))

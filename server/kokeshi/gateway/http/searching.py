"""REST routes that search collections."""

from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.aside import aside, found_bytes
from kokeshi.gateway.calls import current
from kokeshi.gateway.http import collection_bodies, requests
from kokeshi.gateway.http.answers import collections as answers
from kokeshi.gateway.http.answers import respond
from kokeshi.gateway.http.asked import ask, ask_json
from kokeshi.gateway.http.body import (
    NDJSON,
    lines,
    media_type,
    parse_json,
    service_of,
    timeout_s,
    wrong_type,
)
from kokeshi.gateway.http.checking import checked
from kokeshi.gateway.http.json_inputs import inputs, one_input
from kokeshi.gateway.http.lines import LinesResponse
from kokeshi.gateway.http.openapi import bodies, json_body, lines_body
from kokeshi.gateway.streaming import Answered, Asked, answer_each
from kokeshi.service.types import Example, Examples, Failed, Found, SearchOptions, SearchWords

router: Final = APIRouter(prefix="/v1/collections", tags=["Collections"])


@router.post(
    "/{name}/search",
    name="Search",
    response_model=answers.SearchResponse,
    openapi_extra=bodies(collection_bodies.SearchRequest, collection_bodies.SearchOptions),
)
async def search(name: str, request: Request) -> Response:
    """The nearest items of each query, best first."""
    asked, queries = await ask(
        request, collection_bodies.SearchOptions, collection_bodies.SearchRequest, "queries"
    )
    current().model = asked.model
    answer = await service_of(request).search(
        name, queries, timeout_s=timeout_s(request), **_words(asked)
    )
    return await aside(
        found_bytes(answer), lambda: respond(answers.SearchResponse.model_validate(answer))
    )


@router.post(
    "/{name}/search:stream",
    name="SearchStream",
    response_model=answers.SearchLine,
    openapi_extra=lines_body(collection_bodies.SearchLine),
)
async def search_stream(name: str, request: Request) -> Response:
    """Searches as they come, one JSON document per line, each answered as soon as it is ready."""
    if media_type(request) not in NDJSON:
        raise wrong_type(request, *NDJSON)
    most = service_of(request).collection_limits.max_stream_searches
    return LinesResponse(_answered(answer_each(_asked(name, request), most)))


async def _asked(name: str, request: Request) -> AsyncIterator[Asked]:
    number = 0
    async for line in lines(request):
        number += 1
        try:
            one = checked(collection_bodies.SearchLine, parse_json(line))
        except InvalidRequestError as error:
            error.args = (f"line {number}: {error}",)
            raise
        yield Asked(one.id, lambda one=one: _search(name, request, one))  # type: ignore[misc] # a default binds it


async def _search(name: str, request: Request, asked: collection_bodies.SearchLine) -> Found:
    queries = inputs(asked.queries, "queries")
    return await service_of(request).search(
        name, queries, timeout_s=timeout_s(request), **_words(asked)
    )


async def _answered(told: AsyncIterator[Answered]) -> AsyncIterator[answers.SearchLine]:
    async for one in told:
        if isinstance(one.outcome, Failed):
            error = answers.CallError.model_validate(one.outcome)
            yield answers.SearchLine(id=one.id, error=error)
        else:
            found = answers.SearchResponse.model_validate(one.outcome)
            yield answers.SearchLine(id=one.id, answer=found)


@router.post(
    "/{name}/explain",
    name="Explain",
    response_model=answers.Explanation,
    openapi_extra=json_body(collection_bodies.ExplainRequest),
)
async def explain(name: str, request: Request) -> Response:
    """Where an item stands in a search of one query, and why it is not among the hits."""
    asked = await ask_json(request, collection_bodies.ExplainRequest)
    told = await service_of(request).explain(
        name,
        asked.id,
        inputs(asked.queries, "queries"),
        timeout_s=timeout_s(request),
        **_words(asked),
    )
    return respond(answers.Explanation.model_validate(told))


def _words(asked: collection_bodies.SearchOptions) -> SearchWords:
    """The options of a search; a form has neither a filter nor examples."""
    told: dict[str, Any] = {
        name: getattr(asked, name)
        for name in SearchOptions.__dataclass_fields__
        if hasattr(asked, name)
    }
    if isinstance(asked, collection_bodies.SearchRequest):
        told["examples"] = [_examples(each, i) for i, each in enumerate(asked.examples)]
    return SearchWords(**told)  # type: ignore[typeddict-item] # by the names of its fields


def _examples(body: collection_bodies.ExamplesBody, position: int) -> Examples:
    def side(name: str, bodies: list[collection_bodies.ExampleBody]) -> tuple[Example, ...]:
        place = f"examples[{position}].{name}"
        return tuple(_example(each, f"{place}[{i}]") for i, each in enumerate(bodies))

    return Examples(side("positive", body.positive), side("negative", body.negative))


def _example(body: collection_bodies.ExampleBody, place: str) -> Example:
    given = any(getattr(body, kind) is not None for kind in requests.InputBody.model_fields)
    if body.id is None:
        return one_input(body, place)
    if given:
        raise InvalidRequestError(f"{place} holds an id or an input, not both")
    return body.id

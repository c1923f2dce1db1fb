"""From protobuf messages about retrievers to what the service is asked."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import orjson

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.grpc.unpack import inputs, one_input, optional
from kokeshi.service.inputs import Input
from kokeshi.service.retrieval.records import (
    DiagnoseOptions,
    FitOptions,
    Judgement,
    MapOptions,
    Question,
    Reference,
    RotateOptions,
)
from kokeshi.v1 import retrieval_pb2 as rpb

_DIRECTIONS: Final[Mapping[int, Literal["items", "queries"]]] = {
    rpb.FitMapRequest.DIRECTION_UNSPECIFIED: "items",
    rpb.FitMapRequest.DIRECTION_ITEMS: "items",
    rpb.FitMapRequest.DIRECTION_QUERIES: "queries",
}


def json_object(text: str, field: str) -> dict[str, Any] | None:
    """A JSON object; None where there is no text.

    Raises:
        InvalidRequestError: it is something else.
    """
    if not text:
        return None
    value = _json(text, field)
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{field} is a JSON object, not {text[:40]!r}")
    return value


def _json(text: str, field: str) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"{field} is not JSON: {error}") from error


def _settings(text: str) -> dict[str, Any]:
    return json_object(text, "settings_json") or {}


def fit_options(message: rpb.FitRetrieverRequest) -> FitOptions:
    """What a retriever is fitted on."""
    return FitOptions(
        settings=_settings(message.settings_json),
        labels=message.labels,
        judgements=[
            Judgement(each.same, each.left_id, each.right_id, optional(each, "score"))
            for each in message.judgements
        ],
        other=message.other,
        dimension=optional(message, "dimension"),
        name=message.name,
        seed=message.seed,
        items=optional(message, "items"),
        tenant=message.tenant,
    )


def question(message: rpb.AskRetrieverRequest) -> Question:
    """A query to a retriever."""
    return Question(
        _query(message),
        retriever=message.retriever,
        fitted=message.fitted,
        k=optional(message, "k"),
        dimension=optional(message, "dimension"),
        settings=_settings(message.settings_json),
        tenant=message.tenant,
        filter=json_object(message.filter_json, "filter_json"),
        model=message.model,
        space=message.space,
    )


def _query(message: rpb.AskRetrieverRequest) -> Input | str:
    if message.WhichOneof("query") == "id":
        return message.id
    return one_input(message.input, "input")


def reference(message: rpb.VerifyRequest) -> Reference:
    """Whom a query is compared with."""
    text = message.value_json
    value = _json(text, "value_json") if text else None
    if not (value is None or isinstance(value, str | int | float)):
        raise InvalidRequestError(f"value_json is a text, number or truth value, not {text[:40]!r}")
    return Reference(message.against_id, message.field, value)


def diagnose_options(message: rpb.DiagnoseRequest) -> DiagnoseOptions:
    """What to measure of a collection."""
    settings = _settings(message.settings_json)
    wrong = next((name for name, value in settings.items() if not isinstance(value, dict)), None)
    if wrong is not None:
        raise InvalidRequestError(f"settings_json[{wrong!r}] is a JSON object of settings")
    return DiagnoseOptions(
        diagnostics=tuple(message.diagnostics),
        settings=settings,
        labels=message.labels,
        queries=inputs(message.queries, "queries"),
        other=message.other,
        seed=message.seed,
        items=optional(message, "items"),
        tenant=message.tenant,
        model=message.model,
        space=message.space,
    )


def map_options(message: rpb.FitMapRequest) -> MapOptions:
    """What a map is fitted on."""
    if message.direction not in _DIRECTIONS:
        raise InvalidRequestError(f"direction is one of items, queries, not {message.direction}")
    return MapOptions(
        model=message.model,
        pairs=[
            (pair.id, one_input(pair.input, f"pairs[{i}].input"))
            for i, pair in enumerate(message.pairs)
        ],
        other=message.other,
        direction=_DIRECTIONS[message.direction],
        least_recall=optional(message, "least_recall"),
        retriever=message.retriever,
        settings=_settings(message.settings_json),
        seed=message.seed,
        tenant=message.tenant,
    )


def rotate_options(message: rpb.RotateCollectionRequest) -> RotateOptions:
    """How a space is rotated."""
    return RotateOptions(
        message.name,
        dimensions=tuple(message.dimensions),
        retriever=message.retriever,
        settings=_settings(message.settings_json),
        seed=message.seed,
        items=optional(message, "items"),
        tenant=message.tenant,
    )

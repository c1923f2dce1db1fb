"""From the options of a search to its message."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.client import requests
from kokeshi.gateway.client.calls import message
from kokeshi.gateway.client.requests import Asked
from kokeshi.service import types
from kokeshi.v1 import collections_pb2 as cpb


def json_text(value: Mapping[str, Any] | None) -> str | None:
    """A JSON object as text; None of None.

    Raises:
        InvalidRequestError: JSON cannot hold it.
    """
    if value is None:
        return None
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError as error:
        raise InvalidRequestError(f"a filter is JSON: {error}") from error


def search_request(
    collection: str, queries: Sequence[Asked], how: types.SearchWords
) -> cpb.SearchRequest:
    """The message of a search.

    Raises:
        InvalidRequestError: an option cannot be sent.
    """
    options: dict[str, Any] = dict(how)
    mode = str(options.pop("mode", types.SearchMode.AUTO))
    return message(
        cpb.SearchRequest,
        collection=collection,
        queries=requests.inputs(queries),
        mode=f"SEARCH_MODE_{mode.upper()}",
        filter_json=json_text(options.pop("filter", None)),
        examples=[_examples(each) for each in options.pop("examples", ())],
        **options,
    )


def _examples(examples: types.Examples) -> cpb.Examples:
    return cpb.Examples(
        positive=[_example(each) for each in examples.positive],
        negative=[_example(each) for each in examples.negative],
    )


def _example(example: types.Example) -> cpb.Example:
    """A str is the id of an item, as the service has it; a text is a `Text`."""
    if isinstance(example, str):
        return cpb.Example(id=example)
    return cpb.Example(input=requests.one_input(example))

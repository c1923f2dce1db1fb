"""What a client asks retrievers, as messages."""

from collections.abc import Mapping
from typing import Any, TypedDict

from kokeshi.gateway.client import requests
from kokeshi.gateway.client.calls import message
from kokeshi.gateway.client.collection_requests import json_text
from kokeshi.gateway.client.requests import Asked
from kokeshi.v1 import retrieval_pb2 as rpb


class QuestionWords(TypedDict, total=False):
    """What more a query says; see `kokeshi.service.retrieval.records.Question`."""

    id: str
    retriever: str
    fitted: str
    k: int
    dimension: int
    settings: Mapping[str, Any]
    tenant: str
    filter: Mapping[str, Any]
    model: str
    space: str


def question(
    collection: str, query: Asked | None, options: QuestionWords
) -> rpb.AskRetrieverRequest:
    """A query to a retriever: an input, or the id of an item."""
    words: dict[str, Any] = {**options}
    texts = {
        f"{name}_json": json_text(words.pop(name))
        for name in ("settings", "filter")
        if words.get(name) is not None
    }
    return message(
        rpb.AskRetrieverRequest,
        collection=collection,
        input=None if query is None else requests.one_input(query),
        **words,
        **texts,
    )

"""Answers of OpenAI's embeddings call."""

from typing import Annotated, Any, Literal

from pydantic import WithJsonSchema

from kokeshi.gateway.http.answers import Answer


class Embedding(Answer):
    """One vector, as OpenAI's clients read it."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: Annotated[
        Any,
        WithJsonSchema(
            {"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}]}
        ),
    ]


class Usage(Answer):
    """Tokens read of texts."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(Answer):
    """Answer of OpenAI's embeddings call."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage

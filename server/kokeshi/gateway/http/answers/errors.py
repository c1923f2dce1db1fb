"""Answers of requests that failed."""

from kokeshi.gateway.http.answers import Answer


class ErrorBody(Answer):
    """What went wrong."""

    code: str
    message: str
    request_id: str


class ErrorResponse(Answer):
    """Answer of every request that failed."""

    error: ErrorBody


class OpenAIErrorBody(Answer):
    """What went wrong, as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None
    code: str | None
    request_id: str


class OpenAIErrorResponse(Answer):
    """Answer of an embeddings call that failed."""

    error: OpenAIErrorBody

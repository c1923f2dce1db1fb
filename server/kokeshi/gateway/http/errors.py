"""The one place of this door that turns errors into answers.

Every error has the body `{"error": {"code", "message", "request_id"}}`; on OpenAI's route and on
KServe's it is the one that their clients read, and on KServe's the status is Triton's too.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from kokeshi.errors import KokeshiError, ModelNotFoundError
from kokeshi.gateway.calls import INTERNAL_MESSAGE, current, for_client, message_of, retry_after_s
from kokeshi.gateway.http.answers import respond
from kokeshi.gateway.http.answers.errors import (
    ErrorBody,
    ErrorResponse,
    OpenAIErrorBody,
    OpenAIErrorResponse,
)
from kokeshi.gateway.http.body import JSON
from kokeshi.gateway.http.checking import told
from kokeshi.gateway.kserve import http_status

EMBEDDINGS_PATH: Final = "/v1/embeddings"
KSERVE_PATH: Final = "/v2"

# Codes of what the router itself refuses; the rest of HTTP's statuses never come from it.
_ROUTER_CODES: Final = {HTTPStatus.NOT_FOUND: "NOT_FOUND"}
_METHODS: Final = ("GET", "POST", "DELETE")  # of all routes
_OPENAI_TYPES: Final = {
    "UNAUTHENTICATED": "authentication_error",
    "PERMISSION_DENIED": "permission_error",
    "RESOURCE_EXHAUSTED": "rate_limit_error",
    "INTERNAL": "server_error",
    "UNIMPLEMENTED": "server_error",
    "UNAVAILABLE": "server_error",
    "DEADLINE_EXCEEDED": "server_error",
}


def answer_errors(app: FastAPI) -> None:
    """Registers the handlers."""
    app.add_exception_handler(KokeshiError, _on_error)
    app.add_exception_handler(HTTPException, _on_router_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)


def internal_error(path: str) -> Response:
    """The answer to a bug: the log has the rest, under the request id."""
    return _answer(path, HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL", INTERNAL_MESSAGE)


async def _on_error(request: Request, error: Exception) -> Response:
    if not for_client(error):
        raise error  # to the recorder, as any bug
    headers = {}
    wait_s = retry_after_s(error)
    if wait_s is not None:
        headers["retry-after"] = str(max(1, round(wait_s)))
    reason = "model_not_found" if isinstance(error, ModelNotFoundError) else None
    path = request.url.path
    status = http_status(error) if _is_kserve(path) else error.http_status
    return _answer(path, status, error.code, message_of(error), headers, reason)


async def _on_router_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _ROUTER_CODES.get(HTTPStatus(error.status_code), "INVALID_ARGUMENT")
    known = error.status_code == HTTPStatus.METHOD_NOT_ALLOWED
    message = f"method {request.method} is not allowed here" if known else "no such path"
    headers = {"allow": _allowed(request)} if known else error.headers
    return _answer(request.url.path, error.status_code, code, message, headers)


def _allowed(request: Request) -> str:
    """Methods of all routes of this path; the router itself names those of the first one."""
    found = (
        method
        for method in _METHODS
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    )
    return ", ".join(dict.fromkeys(found))


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problem = error.errors()[0]
    problem["loc"] = problem["loc"][1:]  # without "query", as for every other option
    message = told(problem)
    return _answer(request.url.path, HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", message)


def _answer(
    path: str,
    status: int,
    code: str,
    message: str,
    headers: Mapping[str, str] | None = None,
    reason: str | None = None,
) -> Response:
    if _is_kserve(path):
        return kserve_error(status, code, message, headers)
    call = current()
    call.code = code
    answer: ErrorResponse | OpenAIErrorResponse
    if path == EMBEDDINGS_PATH:
        kind = _OPENAI_TYPES.get(code, "invalid_request_error")
        told = OpenAIErrorBody(
            message=message, type=kind, param=None, code=reason, request_id=call.request_id
        )
        answer = OpenAIErrorResponse(error=told)
    else:
        body = ErrorBody(code=code, message=message, request_id=call.request_id)
        answer = ErrorResponse(error=body)
    response = respond(answer, status, nulls=True)
    response.headers.update(headers or {})
    return response


def _is_kserve(path: str) -> bool:
    return path == KSERVE_PATH or path.startswith(f"{KSERVE_PATH}/")


def kserve_error(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """An error as KServe v2 tells it.

    Args:
        status: of HTTP.
        code: name of the gRPC status, for metrics and logs.
        message: for the client.
        headers: more of the answer.
    """
    current().code = code
    return Response(orjson.dumps({"error": message}), status, dict(headers or {}), JSON)

"""The OpenAPI document: request bodies of every content type, and version 3.0 for Swagger UI 4."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from kokeshi.gateway.http.answers import ErrorResponse
from kokeshi.gateway.http.body import JSON, MULTIPART, NDJSON, OCTETS
from kokeshi.gateway.http.requests import REQUEST_BODIES, Body

OPENAPI_VERSION: Final = "3.0.3"  # Swagger UI 4 shows no 3.1
REF: Final = "#/components/schemas/{model}"
ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": ErrorResponse, "description": description}
    for status, description in {
        400: "The request can never succeed as sent.",
        404: "Something named does not exist.",
        409: "The name or id is taken.",
        413: "The body is over the limit.",
        429: "A queue is full; see the header Retry-After.",
        500: "The model failed, or a bug; quote the request id.",
        503: "Not ready.",
        504: "The deadline passed.",
    }.items()
}
_FILE: Final = {"type": "string", "format": "binary"}
_IMAGES: Final = {
    "image": {"type": "array", "items": _FILE, "description": "image files, repeatable"},
    "text": {"type": "array", "items": {"type": "string"}, "description": "texts, repeatable"},
}
_PAIR: Final = {
    side: {**_FILE, "description": "an image file, or a plain field for a text"}
    for side in ("left", "right")
}


def _ref(body: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": REF.format(model=body.__name__)}}


def _properties(options: type[Body]) -> dict[str, Any]:
    return options.model_json_schema(ref_template=REF).get("properties", {})


def _form(options: type[Body], files: Mapping[str, Any]) -> dict[str, Any]:
    return {"schema": {"type": "object", "properties": {**files, **_properties(options)}}}


def _body(content: Mapping[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": dict(content)}}


def json_body(body: type[Body]) -> dict[str, Any]:
    """`openapi_extra` of a route that takes JSON alone."""
    return _body({JSON: _ref(body)})


def bodies(body: type[Body], options: type[Body]) -> dict[str, Any]:
    """`openapi_extra` of a route that takes JSON, forms and raw images."""
    raw = {"schema": _FILE}
    form = {MULTIPART: _form(options, _IMAGES), "image/*": raw, OCTETS: raw}
    query = [
        {
            "name": name,
            "in": "query",
            "schema": schema,
            "description": "Of a raw body or a form; with JSON, a field of the body.",
        }
        for name, schema in _properties(options).items()
    ]
    return {**_body({JSON: _ref(body), **form}), "parameters": query}


def pair_bodies(body: type[Body], options: type[Body]) -> dict[str, Any]:
    """`openapi_extra` of a route that takes two inputs."""
    return _body({JSON: _ref(body), MULTIPART: _form(options, _PAIR)})


def lines_body(line: type[Body]) -> dict[str, Any]:
    """`openapi_extra` of a route that takes one JSON document per line."""
    return _body(dict.fromkeys(NDJSON, _ref(line)))


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document; made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        _, requests = models_json_schema(
            [(body, "validation") for body in REQUEST_BODIES], ref_template=REF
        )
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(requests["$defs"])
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)  # 400, in the shape of every error
        app.openapi_schema = {**_as_3_0(schema), "openapi": OPENAPI_VERSION}
    return app.openapi_schema


def _as_3_0(node: Any) -> Any:  # noqa: ANN401 - any JSON value
    """A schema of OpenAPI 3.1 in the words of 3.0: no null type, no const, no numeric bounds."""
    if isinstance(node, list):
        return [_as_3_0(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {key: _as_3_0(value) for key, value in node.items()}
    if {"type": "null"} in _list(node.get("anyOf")):
        rest = [each for each in node.pop("anyOf") if each != {"type": "null"}]
        node |= {"nullable": True}
        node |= rest[0] if len(rest) == 1 and "$ref" not in rest[0] else {"anyOf": rest}
    if isinstance(node.get("const"), str):
        node["enum"] = [node.pop("const")]
    for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(node.get(bound), int | float) and not isinstance(node[bound], bool):
            node |= {limit: node[bound], bound: True}
    if "default" in node and node["default"] is None:
        del node["default"]
    return node


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []

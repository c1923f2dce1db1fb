"""The OpenAPI document: request bodies of every content type, and version 3.0 for Swagger UI 4."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from kokeshi.gateway.http import examples
from kokeshi.gateway.http.answers.errors import ErrorResponse
from kokeshi.gateway.http.body import JSON, MULTIPART, NDJSON, OCTETS
from kokeshi.gateway.http.collection_bodies import COLLECTION_BODIES
from kokeshi.gateway.http.requests import REQUEST_BODIES, Body
from kokeshi.gateway.http.retrieval_bodies import EXAMPLES, RETRIEVAL_BODIES
from kokeshi.gateway.http.v2.schemas import SCHEMAS as KSERVE_SCHEMAS

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
TAGS: Final = [
    {"name": "Vision", "description": "Classes, masks and vectors of images and texts."},
    {"name": "Collections", "description": "Keeps vectors with metadata and finds the nearest."},
    {"name": "Retrieval", "description": "What retrievers and diagnostics say of a collection."},
    {"name": "Server", "description": "The server, its models, health and metrics."},
    {"name": "OpenAI", "description": "As OpenAI's clients send it."},
    {"name": "KServe v2", "description": "As Triton's clients send it: tensors in, tensors out."},
]
BODIES: Final = (*REQUEST_BODIES, *COLLECTION_BODIES, *RETRIEVAL_BODIES)
_KSERVE_EXAMPLES: Final = {"version": "1", "region": "input"}  # of parameters in the path
_IN_QUERY: Final = "with a JSON body, a field of that"
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
    """Schemas of options that are texts, which have no null."""
    found = options.model_json_schema(ref_template=REF).get("properties", {})
    return {name: _without_null(schema) for name, schema in found.items()}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" not in schema:
        return schema
    (only,) = (each for each in schema["anyOf"] if each != {"type": "null"})
    return {**{key: schema[key] for key in schema if key not in {"anyOf", "default"}}, **only}


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
            # a default would be filled in and sent, beside a body that may not have it twice
            "schema": {key: told for key, told in schema.items() if key != "default"},
            "description": "; ".join(filter(None, [schema.get("description"), _IN_QUERY])),
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
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=TAGS,
        )
        _, requests = models_json_schema(
            [(body, "validation") for body in BODIES],
            ref_template=REF,
        )
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(requests["$defs"])
        schemas.update(KSERVE_SCHEMAS)
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        for name, example in {**examples.BODIES, **EXAMPLES}.items():
            schemas[name]["example"] = example
        for path, operations in schema["paths"].items():
            for operation in operations.values():
                operation["responses"].pop("422", None)  # 400, in the shape of every error
                operation["summary"] = _title(operation["operationId"])
                _give_examples(path, operation.get("parameters", ()))
        app.openapi_schema = {**_as_3_0(schema), "openapi": OPENAPI_VERSION}
    return app.openapi_schema


def _title(name: str) -> str:
    """The name of a call in words: `ListModels` is "List models"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()


def _give_examples(path: str, parameters: Iterable[dict[str, Any]]) -> None:
    chosen = {**examples.PARAMETERS, **_KSERVE_EXAMPLES}
    chosen["model"] = examples.MODELS.get(path.rpartition("/")[2], chosen["model"])
    for parameter in parameters:
        if parameter["in"] == "path":
            parameter["example"] = chosen[parameter["name"]]


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

"""What the OpenAPI document says of KServe v2.

The published protocol's own document is
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_rest.yaml
and a test compares the two field by field; Triton's extensions come on top.
"""

from collections.abc import Mapping
from typing import Any, Final

from kokeshi.gateway.http.body import JSON, MAX_TIMEOUT_MS, OCTETS

Schema = dict[str, Any]

_STRING: Final[Schema] = {"type": "string"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_FILE: Final[Schema] = {"type": "string", "format": "binary"}
_PIXEL: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAU0lEQVR42gFIALf/AQAKY3Xo/fxaAAAZsldfy1EHAwAK+sBO"
    "w7D1AAAFEzq5MwIAAAIkftDmnxMABAQS8f5d/P8BA/71Ida13/f/Av8CKNn5+/4A5EcfW9ReCRAAAAAASUVORK5CYII="
)


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: Schema, description: str = "") -> Schema:
    return {
        "type": "array",
        "items": items,
        **({"description": description} if description else {}),
    }


def _object(description: str, required: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    made: Schema = {"type": "object", "description": description, "properties": properties}
    return {**made, "required": list(required)} if required else made


def _told(kind: Schema, description: str) -> Schema:
    return {**kind, "description": description}


_PARAMETERS: Final = _ref("KServeParameters")
_SPENT: Final = _ref("KServeDuration")
_SPENDINGS: Final = ("compute_input", "compute_infer", "compute_output")

SCHEMAS: Final[Mapping[str, Schema]] = {
    "KServeError": _object("Answer of every request that failed.", ("error",), error=_STRING),
    "KServeParameters": {
        "type": "object",
        "description": "Values by name; those of Triton's extensions are obeyed.",
        "additionalProperties": {
            "anyOf": [_STRING, {"type": "number"}, {"type": "boolean"}],
        },
    },
    "KServeTensorData": {
        "type": "array",
        "description": "Elements row by row, nested or flat.",
        "items": {
            "anyOf": [
                _ref("KServeTensorData"),
                {"type": "number"},
                _STRING,
                {"type": "boolean"},
            ]
        },
    },
    "KServeServerMetadata": _object(
        "What this server is.",
        ("name", "version", "extensions"),
        name=_STRING,
        version=_STRING,
        extensions=_list(_STRING),
    ),
    "KServeTensor": _object(
        "An input or output of a model.",
        ("name", "datatype", "shape"),
        name=_STRING,
        datatype=_told(_STRING, "BOOL, UINT8 ... INT64, FP16, FP32, FP64, BF16 or BYTES"),
        shape=_list({"type": "integer"}, "-1: any length; the first axis is the batch's"),
    ),
    "KServeModelMetadata": _object(
        "What a model takes and gives.",
        ("name", "versions", "platform", "inputs", "outputs"),
        name=_STRING,
        versions=_list(_STRING),
        platform=_STRING,
        inputs=_list(_ref("KServeTensor")),
        outputs=_list(_ref("KServeTensor")),
        properties={
            "type": "object",
            "description": "of the card: method, tasks and space",
            "additionalProperties": _STRING,
        },
    ),
    "KServeModelConfig": _object(
        "Triton's ModelConfig message as JSON, with Triton's names.",
        ("name", "max_batch_size", "input", "output"),
        name=_STRING,
        max_batch_size={"type": "integer"},
        input=_list({"type": "object"}),
        output=_list({"type": "object"}),
    ),
    "KServeInferInput": _object(
        "A tensor: `data`, or one of the parameters `binary_data_size` and `shared_memory_region`.",
        ("name", "shape", "datatype"),
        name=_STRING,
        shape=_list(_COUNT, "with the batch axis"),
        datatype=_told(_STRING, "the model's, or BYTES for encoded images and texts"),
        parameters=_told(
            {"allOf": [_PARAMETERS]},
            "binary_data_size; shared_memory_region, _offset, _byte_size; "
            "content_type: base64 where strings of BYTES are base64",
        ),
        data=_ref("KServeTensorData"),
    ),
    "KServeInferWanted": _object(
        "An output that is wanted.",
        ("name",),
        name=_STRING,
        parameters=_told(
            {"allOf": [_PARAMETERS]},
            "binary_data; classification; shared_memory_region, _offset, _byte_size",
        ),
    ),
    "KServeInferRequest": {
        **_object(
            "Tensors to run a model on.",
            ("inputs",),
            id=_told(_STRING, "comes back in the answer"),
            parameters=_told(
                {"allOf": [_PARAMETERS]},
                "priority; timeout (microseconds in the queue); binary_data_output",
            ),
            inputs=_list(_ref("KServeInferInput")),
            outputs=_list(_ref("KServeInferWanted"), "none: all"),
        ),
        "example": {
            "inputs": [
                {
                    "name": "image",
                    "datatype": "BYTES",
                    "shape": [1],
                    "parameters": {"content_type": "base64"},
                    "data": [_PIXEL],
                }
            ]
        },
    },
    "KServeInferOutput": _object(
        "An output; `data` is absent where its bytes follow the JSON or lie in shared memory.",
        ("name", "shape", "datatype"),
        name=_STRING,
        shape=_list(_COUNT),
        datatype=_STRING,
        parameters=_PARAMETERS,
        data=_ref("KServeTensorData"),
    ),
    "KServeInferResponse": _object(
        "Outputs of a model.",
        ("model_name", "model_version", "outputs"),
        model_name=_STRING,
        model_version=_STRING,
        id=_STRING,
        parameters=_PARAMETERS,
        outputs=_list(_ref("KServeInferOutput")),
    ),
    "KServeDuration": _object(
        "How often, and how long together.", ("count", "ns"), count=_COUNT, ns=_COUNT
    ),
    "KServeBatchStatistics": _object(
        "Executions of one batch size.",
        ("batch_size", *_SPENDINGS),
        batch_size=_COUNT,
        **dict.fromkeys(_SPENDINGS, _SPENT),
    ),
    "KServeInferStatistics": _object(
        "Requests by what became of them, and where their time went.",
        ("success", "fail", "queue", *_SPENDINGS, "cache_hit", "cache_miss"),
        **dict.fromkeys(
            ("success", "fail", "queue", *_SPENDINGS, "cache_hit", "cache_miss"), _SPENT
        ),
    ),
    "KServeModelStatistics": _object(
        "What happened to the requests of one version of a model.",
        (
            "name",
            "version",
            "last_inference",
            "inference_count",
            "execution_count",
            "inference_stats",
            "batch_stats",
        ),
        name=_STRING,
        version=_STRING,
        last_inference=_told(_COUNT, "Unix time in milliseconds"),
        inference_count=_told(_COUNT, "rows"),
        execution_count=_told(_COUNT, "batches"),
        inference_stats=_ref("KServeInferStatistics"),
        batch_stats=_list(_ref("KServeBatchStatistics")),
    ),
    "KServeStatistics": _object(
        "Statistics of models.", ("model_stats",), model_stats=_list(_ref("KServeModelStatistics"))
    ),
    "KServeIndexRequest": _object(
        "Which models to list.", ready=_told({"type": "boolean"}, "only those that answer")
    ),
    "KServeIndex": _list(
        _object(
            "A version of a model.",
            ("name",),
            name=_STRING,
            version=_STRING,
            state=_told(_STRING, "READY, LOADING, UNLOADING or UNAVAILABLE"),
            reason=_told(_STRING, "the state in Kokeshi's words, with progress or cause"),
        )
    ),
    "KServeLoadRequest": _object(
        "How to load; without parameters, as the repository has it.",
        parameters={
            "type": "object",
            "description": "`config`: a ModelConfig as JSON text; `file:<version>/<name>`: base64",
            "properties": {"config": _STRING, "file:1/model.onnx": _STRING},
        },
    ),
    "KServeUnloadRequest": _object(
        "How to unload.",
        parameters={
            **_object("No model depends on another.", unload_dependents={"type": "boolean"}),
            "additionalProperties": False,
        },
    ),
    "KServeRegions": _list(
        _object(
            "A region of shared memory.",
            ("name", "key", "offset", "byte_size"),
            name=_STRING,
            key=_STRING,
            offset=_COUNT,
            byte_size=_COUNT,
        )
    ),
    "KServeRegionRequest": _object(
        "Where a region is.",
        ("key", "byte_size"),
        key=_told(_STRING, "of the POSIX shared memory object"),
        offset=_COUNT,
        byte_size=_COUNT,
    ),
}


def answer(name: str, description: str = "OK") -> dict[int | str, Schema]:
    """`responses` of a route that answers a schema."""
    return {200: {"description": description, "content": {JSON: {"schema": _ref(name)}}}}


def body(name: str) -> Schema:
    """`openapi_extra` of a route whose JSON body may be left out."""
    return {"requestBody": {"required": False, "content": {JSON: {"schema": _ref(name)}}}}


ERRORS: Final[dict[int | str, Schema]] = {
    status: {"description": description, "content": {JSON: {"schema": _ref("KServeError")}}}
    for status, description in {
        400: "The request can never succeed as sent, or (health) the answer is no.",
        404: "Something named does not exist.",
        500: "The model failed, or a bug; quote the request id of the header.",
        501: "A part of the protocol that is not answered here.",
        503: "Not ready, a full queue, or the queue's timeout; see the header Retry-After.",
        504: "The caller's deadline passed.",
    }.items()
}
INFER_ANSWERS: Final[dict[int | str, Schema]] = {
    200: {
        "description": "Outputs; bytes of binary ones follow the JSON.",
        "headers": {
            "Inference-Header-Content-Length": {
                "description": "of the JSON, where bytes follow it",
                "schema": _STRING,
            }
        },
        "content": {
            JSON: {"schema": _ref("KServeInferResponse")},
            OCTETS: {"schema": _FILE},
        },
    }
}
INFER_REQUEST: Final[Schema] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {"schema": _ref("KServeInferRequest")},
            OCTETS: {"schema": _FILE},
            "image/*": {"schema": _FILE},
        },
    },
    "parameters": [
        {
            "name": "Inference-Header-Content-Length",
            "in": "header",
            "required": False,
            "description": "of the JSON, where bytes follow it; 0: there is none",
            "schema": _COUNT,
        },
        {
            "name": "X-Request-Timeout-Ms",
            "in": "header",
            "required": False,
            "description": "the caller's deadline",
            "schema": {"type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT_MS},
        },
    ],
}

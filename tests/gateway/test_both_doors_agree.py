"""The same request by both doors has the same answer, or the same error."""

import base64
import json
from dataclasses import dataclass, replace
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from grpc.aio import AioRpcError

from kokeshi.errors import HTTP_STATUS, SetupError
from kokeshi.gateway.grpc.server import SERVICES
from kokeshi.gateway.http import make_app
from kokeshi.gateway.readiness import Readiness
from kokeshi.v1 import collections_pb2, inputs_pb2, retrieval_pb2, server_pb2, vision_pb2

HEALTH = {"HealthLive", "HealthReady"}  # gRPC has its own protocol for these
HTTP_ALONE = HEALTH | {"Metrics", "Embeddings", "Docs"}


def rpcs() -> dict[str, Any]:
    files = (vision_pb2, collections_pb2, retrieval_pb2, server_pb2)
    services = [each for file in files for each in file.DESCRIPTOR.services_by_name.values()]
    assert {each.full_name for each in services} == set(SERVICES)
    return {method.name: method for each in services for method in each.methods}


async def http_code(both, method, path, **kwargs):
    response = await both.http.request(method, path, **kwargs)
    body = response.json()
    if response.is_success:
        return "OK", body
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "request_id"}
    assert response.headers["x-request-id"] == body["error"]["request_id"]
    code = body["error"]["code"]
    assert response.status_code == HTTP_STATUS[code]
    return code, body["error"]["message"]


async def grpc_code(both, name, request):
    stubs = {
        method: getattr(stub, method)
        for stub in (both.vision, both.collections, both.retrieval, both.server)
        for method in vars(stub)
    }
    call = stubs[name](request)
    assert dict(await call.trailing_metadata())["x-request-id"]
    try:
        answer = await call
    except AioRpcError as error:
        return error.code().name, error.details()
    told = MessageToDict(
        answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return "OK", told


def image(data: bytes) -> inputs_pb2.Input:
    return inputs_pb2.Input(image=inputs_pb2.Image(data=data))


def image_json(data: bytes) -> dict[str, str]:
    return {"image": base64.b64encode(data).decode()}


def text(words: str) -> inputs_pb2.Input:
    return inputs_pb2.Input(text=words)


def vector(*values: float) -> inputs_pb2.Input:
    data = np.array(values, "<f4").tobytes()
    return inputs_pb2.Input(
        tensor=inputs_pb2.Tensor(
            data_type=inputs_pb2.Tensor.DATA_TYPE_FLOAT32, shape=[len(values)], data=data
        )
    )


def plain(answer: Any) -> Any:
    """An answer in the words of REST: enums, 64-bit numbers, metadata and unset fields alike."""
    if isinstance(answer, list):
        return [plain(each) for each in answer]
    if isinstance(answer, dict):
        known = {key: plain(value) for key, value in answer.items()}
        if "metadata_json" in known:
            known["metadata"] = json.loads(known.pop("metadata_json"))
        return {
            key: value for key, value in known.items() if value not in ("", [], 0) or key == "score"
        }
    if isinstance(answer, str):
        for prefix in ("INDEX_KIND_", "DURABILITY_", "VERDICT_"):
            if answer.startswith(prefix):
                return answer.removeprefix(prefix).lower().replace("unspecified", "none")
        return int(answer) if answer.isdecimal() else answer
    return pytest.approx(answer, rel=1e-6) if type(answer) is float else answer


def test_every_rpc_has_a_route_and_every_route_an_rpc(service):
    document = make_app(service, Readiness(service)).openapi()
    operations = {
        operation["operationId"]
        for operations in document["paths"].values()
        for operation in operations.values()
        if operation["tags"] != ["KServe v2"]  # has a gRPC service of its own
    }
    alike = {"GetItem", "DeleteItem"}  # the same calls for one item
    assert operations - HTTP_ALONE - alike == set(rpcs())
    assert alike <= operations


async def test_the_names_of_the_calls_are_those_of_the_rpcs(both):
    from kokeshi.metrics import REGISTRY

    def count(door, call, code):
        labels = {"door": door, "call": call, "code": code}
        return REGISTRY.get_sample_value("kokeshi_requests_total", labels) or 0

    for door in ("grpc", "http"):
        before = count(door, "DescribeModel", "NOT_FOUND")
        if door == "grpc":
            await grpc_code(both, "DescribeModel", server_pb2.DescribeModelRequest(name="x"))
        else:
            await http_code(both, "GET", "/v1/models/x")
        assert count(door, "DescribeModel", "NOT_FOUND") == before + 1
    before = count("http", "unknown", "NOT_FOUND")
    assert (await both.http.get("/nowhere")).status_code == 404
    assert count("http", "unknown", "NOT_FOUND") == before + 1


async def same_answer(both, name, request, method, path, **kwargs):
    code, by_grpc = await grpc_code(both, name, request)
    assert code == "OK", by_grpc
    code, by_http = await http_code(both, method, path, **kwargs)
    assert code == "OK", by_http
    assert plain(by_http) == plain(by_grpc)
    return by_http


async def test_classify_answers_alike(both, make_picture):
    red, blue = make_picture("red"), make_picture("blue")
    answer = await same_answer(
        both,
        "Classify",
        vision_pb2.ClassifyRequest(model="colours", inputs=[image(red), image(blue)], top_k=2),
        "POST",
        "/v1/models/colours/classify",
        json={"inputs": [image_json(red), image_json(blue)], "top_k": 2},
    )
    assert [result["labels"][0]["name"] for result in answer["results"]] == ["red", "blue"]
    assert [len(result["labels"]) for result in answer["results"]] == [2, 2]
    assert answer["model"] == {"name": "colours", "version": 1}


async def test_zero_shot_answers_alike(both, make_picture):
    green = make_picture("green")
    answer = await same_answer(
        both,
        "Classify",
        vision_pb2.ClassifyRequest(
            model="pair", inputs=[image(green)], labels=["red", "green"], templates=["{}"]
        ),
        "POST",
        "/v1/models/pair/classify",
        json={"inputs": [image_json(green)], "labels": ["red", "green"], "templates": ["{}"]},
    )
    assert answer["results"][0]["labels"][0]["name"] == "green"


@pytest.mark.parametrize("format", ["png", "rle", "polygons"])
@pytest.mark.parametrize("model", ["regions", "glow"])
async def test_segment_answers_alike(both, make_picture, model, format):
    data = make_picture("green")
    number = vision_pb2.MaskFormat.Value(f"MASK_FORMAT_{format.upper()}")
    answer = await same_answer(
        both,
        "Segment",
        vision_pb2.SegmentRequest(model=model, inputs=[image(data)], format=number, threshold=0.3),
        "POST",
        f"/v1/models/{model}/segment",
        json={"inputs": [image_json(data)], "format": format, "threshold": 0.3},
    )
    result = answer["results"][0]
    assert (result["width"], result["height"]) == (20, 10)
    region = result["regions"][0]
    assert region["area_pixels"] == 200
    assert ("mask" in region) == (format != "png")
    if format != "png":
        assert set(region["mask"]) == {format}


@pytest.mark.parametrize("encoding", ["float32", "float16", "int8", "binary"])
async def test_embed_answers_alike(both, make_picture, encoding):
    data = make_picture((200, 100, 50))
    number = vision_pb2.VectorEncoding.Value(f"VECTOR_ENCODING_{encoding.upper()}")
    answer = await same_answer(
        both,
        "Embed",
        vision_pb2.EmbedRequest(
            model="colours", inputs=[image(data)], dimension=3, encoding=number, normalised=True
        ),
        "POST",
        "/v1/models/colours/embed",
        json={
            "inputs": [image_json(data)],
            "dimension": 3,
            "encoding": encoding,
            "normalised": True,
        },
    )
    assert answer["dimension"] == 3
    if encoding == "float32":
        assert np.linalg.norm(answer["vectors"][0]["values"]) == pytest.approx(1, abs=1e-6)


async def test_compare_answers_alike(both, make_picture):
    red, blue = make_picture("red"), make_picture("blue")
    answer = await same_answer(
        both,
        "Compare",
        vision_pb2.CompareRequest(model="colours", left=image(red), right=image(blue)),
        "POST",
        "/v1/models/colours/compare",
        json={"left": image_json(red), "right": image_json(blue)},
    )
    assert answer["verdict"] == "different"
    assert answer["threshold"] == pytest.approx(0.9)


async def test_collections_answer_alike(both, make_picture):
    made = await both.http.post("/v1/collections", json={"name": "things", "model": "colours"})
    assert made.status_code == 201
    space = made.json()["space"]
    items = [
        {"id": "a/b", "input": image_json(make_picture("red")), "metadata": {"n": None, "w": [1]}},
        {"id": "v", "input": {"tensor": {"values": [0, 0, 1, 0]}}},
    ]
    added = await both.http.post(
        "/v1/collections/things/items", json={"items": items, "space": space}
    )
    assert added.json()["count"] == 2, added.json()
    pb = collections_pb2
    listed = await same_answer(
        both, "ListCollections", pb.ListCollectionsRequest(), "GET", "/v1/collections"
    )
    assert [each["name"] for each in listed["collections"]] == ["things"]
    await same_answer(
        both,
        "DescribeCollection",
        pb.DescribeCollectionRequest(name="things"),
        "GET",
        "/v1/collections/things",
    )
    page = await same_answer(
        both,
        "ListItems",
        pb.ListItemsRequest(collection="things", page_size=1, with_vectors=True),
        "GET",
        "/v1/collections/things/items?page_size=1&with_vectors=true",
    )
    assert page["items"][0]["metadata"] == {"n": None, "w": [1]}
    assert page["next_page_token"]
    got = await same_answer(
        both,
        "GetItems",
        pb.GetItemsRequest(collection="things", ids=["v", "a/b"]),
        "POST",
        "/v1/collections/things/items/get",
        json={"ids": ["v", "a/b"]},
    )
    assert [item["id"] for item in got["items"]] == ["v", "a/b"]
    told = await same_answer(
        both,
        "ListTenants",
        pb.ListTenantsRequest(collection="things"),
        "GET",
        "/v1/collections/things/tenants",
    )
    assert told == {"tenants": [{"name": "", "count": 2}]}
    one = await both.http.get("/v1/collections/things/items/a%2Fb")
    assert one.json() == got["items"][1]
    found = await same_answer(
        both,
        "Search",
        pb.SearchRequest(
            collection="things",
            queries=[image(make_picture("red")), vector(0, 0, 1, 0)],
            k=1,
            mode=pb.SEARCH_MODE_EXACT,
            space=space,
            with_vectors=True,
        ),
        "POST",
        "/v1/collections/things/search",
        json={
            "queries": [
                image_json(make_picture("red")),
                {"tensor": {"values": [0, 0, 1, 0]}},
            ],
            "k": 1,
            "mode": "exact",
            "space": space,
            "with_vectors": True,
        },
    )
    assert [hits["hits"][0]["id"] for hits in found["results"]] == ["a/b", "v"]
    gone = await both.http.delete("/v1/collections/things/items/a%2Fb")
    assert gone.json()["count"] == 1
    again = await both.http.post("/v1/collections/things/items/delete", json={"ids": ["a/b", "v"]})
    assert again.json()["count"] == 1
    assert (await both.http.delete("/v1/collections/things")).json() == {}
    code, _ = await grpc_code(both, "DeleteCollection", pb.DeleteCollectionRequest(name="things"))
    assert code == "NOT_FOUND"


async def test_the_server_and_its_models_are_described_alike(both):
    _, by_grpc = await grpc_code(both, "GetServerInfo", server_pb2.GetServerInfoRequest())
    _, by_http = await http_code(both, "GET", "/v1/server")
    assert by_grpc.pop("uptime_s") == pytest.approx(by_http.pop("uptime_s"), abs=5)
    assert plain(by_http) == plain(by_grpc)
    _, by_grpc = await grpc_code(both, "ListModels", server_pb2.ListModelsRequest())
    _, by_http = await http_code(both, "GET", "/v1/models")
    for theirs, ours in zip(by_grpc["models"], by_http["data"], strict=True):
        openai = {key: ours.pop(key) for key in ("id", "object", "created", "owned_by")}
        assert openai["id"] == ours["name"]
        assert plain(ours) == plain(theirs)
    _, by_grpc = await grpc_code(
        both, "DescribeModel", server_pb2.DescribeModelRequest(name="colours")
    )
    _, by_http = await http_code(both, "GET", "/v1/models/colours?version=1")
    assert by_http["card"] == json.loads(by_grpc["card_json"])
    assert by_http["dimensions"] == by_grpc["dimensions"] == [2, 3, 4]


@dataclass(frozen=True)
class Bad:
    """One request that fails, as both doors take it."""

    name: str
    code: str
    rpc: str
    request: Any
    path: str
    json: Any
    method: str = "POST"


RED = base64.b64decode(
    b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
ONE = [image(RED)]
ONE_JSON = [image_json(RED)]
TWO_JSON = {"left": image_json(RED), "right": image_json(RED)}
VPB, CPB = vision_pb2, collections_pb2


def bad_vision(name, code, rpc, json, path="colours", **fields):
    request = getattr(VPB, f"{rpc}Request")(model=path, **fields)
    return Bad(name, code, rpc, request, f"/v1/models/{path}/{rpc.lower()}", json)


BAD = [
    bad_vision("no inputs", "INVALID_ARGUMENT", "Classify", {"inputs": []}),
    bad_vision(
        "text where images are taken",
        "INVALID_ARGUMENT",
        "Classify",
        {"inputs": [{"text": "red"}]},
        inputs=[text("red")],
    ),
    bad_vision(
        "bytes that are no image",
        "INVALID_ARGUMENT",
        "Classify",
        {"inputs": [image_json(b"hello")]},
        inputs=[image(b"hello")],
    ),
    bad_vision(
        "an empty image",
        "INVALID_ARGUMENT",
        "Embed",
        {"inputs": [image_json(b"")]},
        inputs=[image(b"")],
    ),
    bad_vision(
        "an input that is nothing",
        "INVALID_ARGUMENT",
        "Embed",
        {"inputs": [{}]},
        inputs=[inputs_pb2.Input()],
    ),
    bad_vision(
        "sound",
        "INVALID_ARGUMENT",
        "Embed",
        {"inputs": [{"audio": "aGVsbG8="}]},
        inputs=[inputs_pb2.Input(audio=inputs_pb2.Audio(data=b"hello"))],
    ),
    bad_vision(
        "a tensor whose bytes do not fill its shape",
        "INVALID_ARGUMENT",
        "Embed",
        {"inputs": [{"tensor": {"data_type": "uint8", "shape": [8, 8, 3], "data": "AAAA"}}]},
        inputs=[
            inputs_pb2.Input(tensor=inputs_pb2.Tensor(data_type=1, shape=[8, 8, 3], data=b"\0\0\0"))
        ],
    ),
    bad_vision(
        "a tensor of another size than the model's",
        "INVALID_ARGUMENT",
        "Embed",
        {"inputs": [{"tensor": {"data_type": "uint8", "shape": [1, 1, 3], "data": "AAAA"}}]},
        inputs=[
            inputs_pb2.Input(tensor=inputs_pb2.Tensor(data_type=1, shape=[1, 1, 3], data=b"\0\0\0"))
        ],
    ),
    bad_vision(
        "another task than the model's",
        "INVALID_ARGUMENT",
        "Segment",
        {"inputs": ONE_JSON},
        inputs=ONE,
    ),
    bad_vision(
        "an unknown model", "NOT_FOUND", "Embed", {"inputs": ONE_JSON}, path="none", inputs=ONE
    ),
    bad_vision(
        "an unknown version",
        "NOT_FOUND",
        "Embed",
        {"inputs": ONE_JSON, "version": 7},
        inputs=ONE,
        version=7,
    ),
    bad_vision(
        "no labels",
        "INVALID_ARGUMENT",
        "Classify",
        {"inputs": ONE_JSON, "top_k": 0},
        inputs=ONE,
        top_k=0,
    ),
    bad_vision(
        "a million labels",
        "INVALID_ARGUMENT",
        "Classify",
        {"inputs": ONE_JSON, "top_k": 1_000_000},
        inputs=ONE,
        top_k=1_000_000,
    ),
    bad_vision(
        "a threshold over one",
        "INVALID_ARGUMENT",
        "Classify",
        {"inputs": ONE_JSON, "threshold": 1.5},
        inputs=ONE,
        threshold=1.5,
    ),
    bad_vision(
        "a dimension that was not trained",
        "INVALID_ARGUMENT",
        "Embed",
        {"inputs": ONE_JSON, "dimension": 1},
        inputs=ONE,
        dimension=1,
    ),
    bad_vision(
        "a dimension that was not trained, to compare",
        "INVALID_ARGUMENT",
        "Compare",
        {**TWO_JSON, "dimension": 1},
        left=ONE[0],
        right=ONE[0],
        dimension=1,
    ),
    bad_vision(
        "nothing to compare with",
        "INVALID_ARGUMENT",
        "Compare",
        {"left": image_json(RED)},
        left=ONE[0],
    ),
    bad_vision(
        "an unknown encoding",
        "INVALID_ARGUMENT",
        "Embed",
        {"inputs": ONE_JSON, "encoding": "float8"},
        inputs=ONE,
        encoding=99,
    ),
    bad_vision(
        "an unknown format",
        "INVALID_ARGUMENT",
        "Segment",
        {"inputs": ONE_JSON, "format": "svg"},
        path="regions",
        inputs=ONE,
        format=99,
    ),
    Bad(
        "a collection of an unknown model",
        "NOT_FOUND",
        "CreateCollection",
        CPB.CreateCollectionRequest(name="c", model="none"),
        "/v1/collections",
        {"name": "c", "model": "none"},
    ),
    Bad(
        "a collection of a model that does not embed",
        "INVALID_ARGUMENT",
        "CreateCollection",
        CPB.CreateCollectionRequest(name="c", model="regions"),
        "/v1/collections",
        {"name": "c", "model": "regions"},
    ),
    Bad(
        "a collection with a bad name",
        "INVALID_ARGUMENT",
        "CreateCollection",
        CPB.CreateCollectionRequest(name="../c", model="colours"),
        "/v1/collections",
        {"name": "../c", "model": "colours"},
    ),
    Bad(
        "a collection whose name is taken",
        "ALREADY_EXISTS",
        "CreateCollection",
        CPB.CreateCollectionRequest(name="taken", model="colours"),
        "/v1/collections",
        {"name": "taken", "model": "colours"},
    ),
    Bad(
        "an index of an unknown kind",
        "INVALID_ARGUMENT",
        "CreateCollection",
        CPB.CreateCollectionRequest(name="c", model="colours", index=99),
        "/v1/collections",
        {"name": "c", "model": "colours", "index": "tree"},
    ),
    Bad(
        "an unknown collection",
        "NOT_FOUND",
        "DescribeCollection",
        CPB.DescribeCollectionRequest(name="none"),
        "/v1/collections/none",
        None,
        "GET",
    ),
    Bad(
        "tenants of an unknown collection",
        "NOT_FOUND",
        "ListTenants",
        CPB.ListTenantsRequest(collection="none"),
        "/v1/collections/none/tenants",
        None,
        "GET",
    ),
    Bad(
        "an unknown item",
        "NOT_FOUND",
        "GetItems",
        CPB.GetItemsRequest(collection="taken", ids=["none"]),
        "/v1/collections/taken/items/get",
        {"ids": ["none"]},
    ),
    Bad(
        "a page token that is none",
        "INVALID_ARGUMENT",
        "ListItems",
        CPB.ListItemsRequest(collection="taken", page_token="none"),
        "/v1/collections/taken/items?page_token=none",
        None,
        "GET",
    ),
    Bad(
        "no items",
        "INVALID_ARGUMENT",
        "AddItems",
        CPB.AddItemsRequest(collection="taken"),
        "/v1/collections/taken/items",
        {"items": []},
    ),
    Bad(
        "vectors of another space",
        "FAILED_PRECONDITION",
        "AddItems",
        CPB.AddItemsRequest(
            collection="taken",
            items=[CPB.NewItem(id="a", input=vector(1, 0, 0, 0))],
            space="0000",
        ),
        "/v1/collections/taken/items",
        {"items": [{"id": "a", "input": {"tensor": {"values": [1, 0, 0, 0]}}}], "space": "0000"},
    ),
    Bad(
        "metadata that is no object",
        "INVALID_ARGUMENT",
        "AddItems",
        CPB.AddItemsRequest(
            collection="taken", items=[CPB.NewItem(id="a", input=ONE[0], metadata_json="[1]")]
        ),
        "/v1/collections/taken/items",
        {"items": [{"id": "a", "input": ONE_JSON[0], "metadata": [1]}]},
    ),
    Bad(
        "no neighbours",
        "INVALID_ARGUMENT",
        "Search",
        CPB.SearchRequest(collection="taken", queries=ONE, k=0),
        "/v1/collections/taken/search",
        {"queries": ONE_JSON, "k": 0},
    ),
    Bad(
        "a million neighbours",
        "INVALID_ARGUMENT",
        "Search",
        CPB.SearchRequest(collection="taken", queries=ONE, k=1_000_000),
        "/v1/collections/taken/search",
        {"queries": ONE_JSON, "k": 1_000_000},
    ),
    Bad(
        "queries of another space",
        "FAILED_PRECONDITION",
        "Search",
        CPB.SearchRequest(collection="taken", queries=ONE, model="pair"),
        "/v1/collections/taken/search",
        {"queries": ONE_JSON, "model": "pair"},
    ),
    Bad(
        "a search of a dimension that was not trained",
        "INVALID_ARGUMENT",
        "Search",
        CPB.SearchRequest(collection="taken", queries=ONE, dimension=1),
        "/v1/collections/taken/search",
        {"queries": ONE_JSON, "dimension": 1},
    ),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
async def test_a_bad_request_has_one_code_at_both_doors(both, bad):
    await both.service.create_collection("taken", "colours")
    by_grpc, grpc_message = await grpc_code(both, bad.rpc, bad.request)
    body = {} if bad.json is None else {"json": bad.json}
    by_http, http_message = await http_code(both, bad.method, bad.path, **body)
    assert (by_grpc, by_http) == (bad.code, bad.code), (grpc_message, http_message)
    for message in (grpc_message, http_message):
        assert message
        assert "/" not in message.replace("'../c'", "") or "image/" in message
        assert "Traceback" not in message


@pytest.mark.parametrize("call", ["classify", "models"])
async def test_a_bug_says_internal_error_and_a_request_id_alone(both, make_picture, call, caplog):
    class Broken(type(both.service)):
        async def classify(self, *args, **kwargs):
            raise RuntimeError("secret")

        def models(self):
            raise RuntimeError("secret")

    both.service.__class__ = Broken
    data = make_picture("red")
    if call == "classify":
        request = vision_pb2.ClassifyRequest(model="colours", inputs=[image(data)])
        by_grpc = await grpc_code(both, "Classify", request)
        path = "/v1/models/colours/classify"
        response = await both.http.post(path, json={"inputs": [image_json(data)]})
    else:
        by_grpc = await grpc_code(both, "ListModels", server_pb2.ListModelsRequest())
        response = await both.http.get("/v1/models", headers={"x-request-id": "mine"})
        assert response.headers["x-request-id"] == "mine"
    assert by_grpc == ("INTERNAL", "internal error")
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "internal error"
    assert response.json()["error"]["request_id"] == response.headers["x-request-id"]
    assert "secret" not in response.text
    assert caplog.text.count("RuntimeError: secret") == 2


async def test_an_error_for_the_operator_is_a_bug_to_the_client(both, make_picture, caplog):
    class Broken(type(both.service)):
        async def embed(self, *args, **kwargs):
            raise SetupError("the file /etc/secret is missing")

    both.service.__class__ = Broken
    data = make_picture("red")
    request = vision_pb2.EmbedRequest(model="colours", inputs=[image(data)])
    assert await grpc_code(both, "Embed", request) == ("INTERNAL", "internal error")
    path = "/v1/models/colours/embed"
    told = await http_code(both, "POST", path, json={"inputs": [image_json(data)]})
    assert told == ("INTERNAL", "internal error")
    assert caplog.text.count("SetupError: the file") == 2


async def test_an_overloaded_model_says_when_to_come_back(both, make_picture):
    from kokeshi.errors import OverloadedError

    class Full(type(both.service)):
        async def embed(self, *args, **kwargs):
            raise OverloadedError("the queue is full", retry_after_s=2)

    both.service.__class__ = Full
    request = vision_pb2.EmbedRequest(model="colours", inputs=[image(make_picture("red"))])
    with pytest.raises(AioRpcError) as caught:
        await both.vision.Embed(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert dict(caught.value.trailing_metadata())["retry-after-ms"] == "2000"
    response = await both.http.post("/v1/models/colours/embed", json={"inputs": []})
    assert response.status_code == 429
    assert response.headers["retry-after"] == "2"


async def test_a_body_over_the_limit_is_refused_at_both_doors(both):
    both.service.limits = replace(both.service.limits, max_request_bytes=1000)
    response = await both.http.post("/v1/models/colours/embed", json={"inputs": ["x" * 2000]})
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "RESOURCE_EXHAUSTED"
    assert "retry-after" not in response.headers


async def test_a_long_message_fits_the_trailers_of_grpc(both):
    name = "ü" * 2_000
    by_grpc, message = await grpc_code(
        both, "DescribeModel", server_pb2.DescribeModelRequest(name=name)
    )
    assert by_grpc == "NOT_FOUND"
    assert 100 < len(message) <= 500
    assert await http_code(both, "GET", f"/v1/models/{name}") == (by_grpc, message)

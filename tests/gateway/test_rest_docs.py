"""The docs, the OpenAPI document and the metrics."""

import json
import re

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from kokeshi.gateway.http import examples
from kokeshi.gateway.http.collection_bodies import COLLECTION_BODIES
from kokeshi.gateway.http.requests import REQUEST_BODIES


async def test_the_docs_need_no_internet(both):
    root = await both.http.get("/")
    assert (root.status_code, root.headers["location"]) == (307, "/docs")
    page = await both.http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(linked) == 3
    for link in linked:
        assert link.startswith("/docs/")
        asset = await both.http.get(link)
        assert asset.status_code == 200
        assert len(asset.content) > 500
    assert "url: '/openapi.json'" in page.text
    assert (await both.http.get("/docs/index.html")).status_code == 404
    assert (await both.http.get("/docs/..%2F__init__.py")).status_code == 404


@pytest.fixture
async def document(both):
    return (await both.http.get("/openapi.json")).json()


def refs(node):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from refs(each)


def test_every_reference_leads_somewhere(document):
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(refs(document)) <= known


def test_the_document_is_one_that_swagger_ui_4_shows(document):
    assert document["openapi"].startswith("3.0.")
    text = json.dumps(document)
    for word in ('"null"', '"const"', '"prefixItems"', "HTTPValidationError", '"422"'):
        assert word not in text


# What KServe v2 answers without a body.
BODILESS = {
    "ModelReady", "ModelReadyOfVersion", "RepositoryModelLoad", "RepositoryModelUnload",
    "ServerLive", "ServerReady", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister",
    "SystemSharedMemoryUnregisterOfAll",
}  # fmt: skip


def check_kserve(name, operation):
    answer = operation["responses"]["200"].get("content")
    assert (answer is None) == (name in BODILESS), name
    assert answer is None or "$ref" in answer["application/json"]["schema"], name
    for status in ("400", "404", "500", "501", "503", "504"):
        content = operation["responses"][status]["content"]["application/json"]
        assert content["schema"]["$ref"].endswith("/KServeError"), name


def test_every_route_tells_its_bodies_answers_and_errors(document):
    calls = {
        operation["operationId"]: operation
        for operations in document["paths"].values()
        for operation in operations.values()
    }
    for name, operation in calls.items():
        assert operation["description"], name
        if operation["tags"] == ["KServe v2"]:
            check_kserve(name, operation)
            continue
        success = operation["responses"].get("200") or operation["responses"]["201"]
        if name != "Metrics":
            assert "$ref" in success["content"]["application/json"]["schema"], name
        for status in ("400", "404", "413", "429", "500", "503", "504"):
            content = operation["responses"][status]["content"]["application/json"]
            expected = "OpenAIErrorResponse" if name == "Embeddings" else "ErrorResponse"
            assert content["schema"]["$ref"].endswith(f"/{expected}"), name
    every = {"application/json", "multipart/form-data", "image/*", "application/octet-stream"}
    for name in ("Classify", "Segment", "Embed", "AddItems", "Search"):
        assert set(calls[name]["requestBody"]["content"]) == every, name
        assert calls[name]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    for name in ("Compare", "CreateCollection", "GetItems", "DeleteItems", "AddItemsStream"):
        assert calls[name]["requestBody"]["content"], name
    form = calls["Classify"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"image", "top_k", "labels"} <= set(form["properties"])
    assert "image/png" in calls["Segment"]["responses"]["200"]["content"]


def test_summaries_are_words(document):
    summaries = {
        operation["operationId"]: operation["summary"]
        for operations in document["paths"].values()
        for operation in operations.values()
    }
    assert summaries["ListCollections"] == "List collections"
    assert summaries["GetItem"] == "Get item"
    assert summaries["Classify"] == "Classify"
    tags = {tag["name"] for tag in document["tags"]}
    assert tags == {"Vision", "Collections", "Retrieval", "Server", "OpenAI", "KServe v2"}


def test_examples_are_requests_that_are_read(document):
    bodies = {body.__name__: body for body in (*REQUEST_BODIES, *COLLECTION_BODIES)}
    assert set(examples.BODIES) == set(bodies)
    for name, body in bodies.items():
        example = document["components"]["schemas"][name]["example"]
        assert body.model_validate(example).model_dump(exclude_unset=True, mode="json") == example


def test_the_docs_fill_in_no_query_beside_a_body(document):
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if "requestBody" in operation and parameter["in"] == "query":
                    # a body of lines has no other place for it
                    is_stream = operation["operationId"] in {"AddItemsStream", "Ingest"}
                    assert is_stream or "default" not in parameter["schema"], parameter
                if parameter["in"] == "path":
                    assert parameter["example"]


@pytest.mark.parametrize(
    ("accept", "parse", "type_"),
    [
        ("", prometheus, "text/plain"),
        ("application/openmetrics-text;version=1.0.0", openmetrics, "application/openmetrics-text"),
    ],
)
async def test_metrics_are_answered_in_the_format_accepted(both, accept, parse, type_):
    await both.http.get("/v1/models")
    response = await both.http.get("/metrics", headers={"accept": accept})
    assert response.headers["content-type"].startswith(type_)
    families = {family.name: family for family in parse(response.text)}
    samples = families["kokeshi_requests"].samples
    labels = {"door": "http", "call": "ListModels", "code": "OK"}
    assert any(sample.labels == labels and sample.value >= 1 for sample in samples)
    in_flight = families["kokeshi_requests_in_flight"].samples
    assert {sample.labels["door"]: sample.value for sample in in_flight}["http"] == 1

"""Every call of the service Retrieval has the same answer by both doors, field by field."""

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from kokeshi.errors import HTTP_STATUS
from kokeshi.v1 import retrieval_pb2 as rpb

SETTINGS = {"draws": 5}
TURN = {"items_per_dimension": 1.0}
MAPPED = 0.3  # recall of a map that is good enough here
WAIT_S = 60.0


@dataclass(frozen=True)
class Call:
    """One request as both doors take it.

    Attributes:
        before: makes the server ready for it, once for each door.
    """

    rpc: str
    request: Any
    path: str
    body: dict[str, Any] | None = None
    method: str = "POST"
    before: Callable[[Any], None] = lambda doors: None

    def by_grpc(self, doors):
        answer = getattr(doors.retrieval, self.rpc)(self.request)
        return MessageToDict(
            answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )

    def by_http(self, doors):
        body = {} if self.body is None else {"json": self.body}
        return doors.http.request(self.method, f"/v1{self.path}", **body)


def words(answer):
    """An answer in the words of REST: objects, numbers of 64 bits and verdicts alike."""
    if isinstance(answer, list):
        return [words(each) for each in answer]
    if isinstance(answer, dict):
        read = {
            key.removesuffix("_json"): json.loads(value) if key.endswith("_json") else value
            for key, value in answer.items()
        }
        return {key: words(value) for key, value in read.items() if value is not None}
    if isinstance(answer, str):
        told = answer.removeprefix("VERDICT_").lower() if "VERDICT_" in answer else answer
        return int(told) if told.isdecimal() else told
    return pytest.approx(answer, rel=1e-6) if type(answer) is float else answer


def settled(doors, target):
    """Waits until nothing runs into a collection."""
    request, until = rpb.DescribeTransferRequest(target=target), time.monotonic() + WAIT_S
    while doors.retrieval.DescribeTransfer(request).state == "running":
        assert time.monotonic() < until
        time.sleep(0.05)


def gone(doors, name):
    """Deletes a collection, if it is there, when nothing is written into it any more."""
    if name in {info.name for info in doors.run(doors.service.list_collections())}:
        settled(doors, name)
        doors.run(doors.service.delete_collection(name))


def map_items(doors):
    """A map from `digits` into the space of `same`, and an empty collection of that space."""
    doors.retrieval.FitMap(CALLS["FitMap"].request)
    gone(doors, "moved")
    doors.run(doors.service.create_collection("moved", "digits"))


def moved(doors):
    """A migration that has come to its end."""
    map_items(doors)
    doors.retrieval.StartMigration(CALLS["StartMigration"].request)
    settled(doors, "moved")


def fitted(doors):
    for name in ("verification", "open_set", "hopfield"):
        request = rpb.FitRetrieverRequest(collection="digits", retriever=name, labels="label")
        request.settings_json = json.dumps(SETTINGS if name == "verification" else {})
        doors.retrieval.FitRetriever(request)


def spare(doors):
    fit = CALLS["FitRetriever"].request
    request = rpb.FitRetrieverRequest(collection="digits", retriever="prototypes", name="spare")
    request.labels = fit.labels
    doors.retrieval.FitRetriever(request)


QUERY = "/collections/digits"


def asking(rpc, path, answer_of=rpb.AskRetrieverRequest, **fields):
    """A call about the first query, which is filled in when the digits are there."""
    request = answer_of(collection="digits", **fields)
    return Call(rpc, request, f"{QUERY}/{path}", dict(fields), before=fitted)


CALLS = {
    call.rpc: call
    for call in (
        Call("ListRetrievers", rpb.ListRetrieversRequest(), "/retrievers", method="GET"),
        Call(
            "FitRetriever",
            rpb.FitRetrieverRequest(
                collection="digits",
                retriever="prototypes",
                labels="label",
                settings_json='{"rule": "euclidean"}',
                dimension=32,
                name="means",
                seed=3,
                items=250,
            ),
            f"{QUERY}/retrievers/prototypes/fit",
            {
                "labels": "label",
                "settings": {"rule": "euclidean"},
                "dimension": 32,
                "name": "means",
                "seed": 3,
                "items": 250,
            },
        ),
        Call(
            "ListFitted",
            rpb.ListFittedRequest(collection="digits"),
            f"{QUERY}/fitted",
            method="GET",
            before=fitted,
        ),
        Call(
            "DeleteFitted",
            rpb.DeleteFittedRequest(collection="digits", name="spare"),
            f"{QUERY}/fitted/spare",
            method="DELETE",
            before=spare,
        ),
        asking("AskRetriever", "ask", retriever="neighbour_vote", k=20, dimension=16),
        Call(
            "Verify",
            rpb.VerifyRequest(
                question=rpb.AskRetrieverRequest(collection="digits", dimension=32),
                field="label",
                value_json='"3"',
            ),
            f"{QUERY}/verify",
            {"dimension": 32, "field": "label", "value": "3"},
            before=fitted,
        ),
        asking("Locate", "locate", k=30),
        asking("Vote", "vote", k=20),
        asking("Recognise", "recognise"),
        asking("Associate", "associate", k=9),
        Call(
            "Diagnose",
            rpb.DiagnoseRequest(
                collection="digits",
                diagnostics=["hubness", "intrinsic_dimension", "class_geometry", "drift"],
                labels="label",
                items=200,
                seed=1,
            ),
            f"{QUERY}/diagnose",
            {
                "diagnostics": ["hubness", "intrinsic_dimension", "class_geometry", "drift"],
                "labels": "label",
                "items": 200,
                "seed": 1,
            },
        ),
        Call(
            "FitMap",
            rpb.FitMapRequest(collection="digits", other="same", least_recall=MAPPED, seed=2),
            f"{QUERY}/map",
            {"other": "same", "least_recall": MAPPED, "seed": 2},
        ),
        Call(
            "StartMigration",
            rpb.StartMigrationRequest(source="digits", target="moved"),
            "/collections/moved/migration",
            {"source": "digits"},
            before=map_items,
        ),
        Call(
            "DescribeTransfer",
            rpb.DescribeTransferRequest(target="moved"),
            "/collections/moved/migration",
            method="GET",
            before=moved,
        ),
        Call(
            "FinishMigration",
            rpb.FinishMigrationRequest(target="moved", alias="numbers"),
            "/collections/moved/migration/finish",
            {"alias": "numbers"},
            before=moved,
        ),
        Call(
            "RotateCollection",
            rpb.RotateCollectionRequest(
                collection="same",
                name="turned",
                dimensions=[8, 24],
                settings_json=json.dumps(TURN),
                items=300,
            ),
            "/collections/same/rotate",
            {"name": "turned", "dimensions": [8, 24], "settings": TURN, "items": 300},
            before=lambda doors: gone(doors, "turned"),
        ),
    )
}


@pytest.fixture(scope="module")
def ready(doors):
    """The server, with the items of `digits` in the other model's space too."""
    doors.fill("same", "digits", doors.stored)
    return doors


def about(call, digit):
    """The same call with a picture to ask about, where it is a question."""
    request, body = type(call.request)(), dict(call.body or {})
    request.CopyFrom(call.request)
    question = getattr(request, "question", request)
    if not isinstance(question, rpb.AskRetrieverRequest):
        return call
    question.input.CopyFrom(digit.input)
    body["input"] = {"image": base64.b64encode(digit.data).decode()}
    return Call(call.rpc, request, call.path, body, before=call.before)


def test_every_call_is_compared():
    (service,) = rpb.DESCRIPTOR.services_by_name.values()
    assert set(CALLS) == {method.name for method in service.methods}


@pytest.mark.parametrize("rpc", CALLS)
def test_both_doors_answer_alike(ready, rpc):
    call = about(CALLS[rpc], ready.queries[0])
    call.before(ready)
    by_grpc = call.by_grpc(ready)
    call.before(ready)
    by_http = call.by_http(ready)
    assert by_http.is_success, by_http.text
    assert words(by_http.json()) == words(by_grpc)
    assert by_grpc or rpc == "DeleteFitted"
    if rpc in {"StartMigration", "RotateCollection"}:
        settled(ready, "moved" if rpc == "StartMigration" else "turned")


@pytest.mark.parametrize("rpc", [rpc for rpc in CALLS if rpc != "ListRetrievers"])
def test_both_doors_refuse_alike(ready, rpc):
    call = about(CALLS[rpc], ready.queries[0])
    request, path = type(call.request)(), call.path.split("/")
    request.CopyFrom(call.request)
    owner = getattr(request, "question", request)
    field = "collection" if hasattr(owner, "collection") else "target"
    setattr(owner, field, "nowhere")
    path[2] = "nowhere"
    wrong = Call(rpc, request, "/".join(path), call.body, call.method)
    with pytest.raises(grpc.RpcError) as caught:
        wrong.by_grpc(ready)
    response = wrong.by_http(ready)
    told = response.json()["error"]
    assert (told["code"], told["message"]) == (caught.value.code().name, caught.value.details())
    assert (told["code"], response.status_code) == ("NOT_FOUND", HTTP_STATUS["NOT_FOUND"])

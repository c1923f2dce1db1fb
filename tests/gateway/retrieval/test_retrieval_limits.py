"""What a call may cost, and that it costs no more once nobody waits for it; both doors."""

import json
import threading
import time
from dataclasses import replace
from http.client import HTTPConnection
from typing import Any

import grpc
import numpy as np
import orjson
import pytest

from kokeshi.gateway.http import retrieval_answers
from kokeshi.gateway.http.answers import Answer, respond
from kokeshi.plugin import Diagnostic, Paper, go_on
from kokeshi.service.retrieval import typed
from kokeshi.v1 import retrieval_pb2 as rpb

WAIT_S = 60.0
PAPER = Paper("Endless", "Nobody", 2020, "https://example.org")


class Endless:
    """A measure of many steps that ends only when it is told to."""

    def __init__(self):
        self.began, self.ended = threading.Event(), threading.Event()

    def __call__(self, sample, settings):
        self.began.set()
        try:
            while True:
                time.sleep(0.001)
                go_on()
        finally:
            self.ended.set()


@pytest.fixture
def endless(doors, monkeypatch):
    """Installed as a diagnostic of a third party."""
    measure = Endless()
    plugin = Diagnostic("endless", PAPER, "MIT", measure)
    monkeypatch.setitem(doors.service.retrieval._registry.diagnostics, "endless", plugin)
    return measure


def by_http(doors, measure):
    """Asks, and hangs up."""
    address = doors.http.base_url
    connection = HTTPConnection(address.host, address.port, timeout=WAIT_S)
    asked = json.dumps({"diagnostics": ["endless"]})
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/collections/digits/diagnose", asked, headers)
    assert measure.began.wait(WAIT_S)
    connection.close()


def by_grpc(doors, measure):
    """Asks, and cancels."""
    request = rpb.DiagnoseRequest(collection="digits", diagnostics=["endless"])
    call = doors.retrieval.Diagnose.future(request)
    assert measure.began.wait(WAIT_S)
    call.cancel()


@pytest.mark.parametrize("leave", [by_http, by_grpc])
def test_a_diagnosis_ends_when_its_caller_hangs_up_and_the_next_runs(doors, endless, leave):
    leave(doors, endless)
    assert endless.ended.wait(WAIT_S)
    asked = {"diagnostics": ["hubness"]}
    response = doors.http.post("/v1/collections/digits/diagnose", json=asked)
    assert response.json()["results"][0]["figures"]


def test_a_fit_whose_caller_left_is_not_kept(doors, monkeypatch):
    plugin = doors.service.retrieval._registry.retrievers["prototypes"]
    began, left = threading.Event(), threading.Event()
    fit = plugin.fit

    def slow(sample, settings):
        model = fit(sample, settings)
        began.set()
        assert left.wait(WAIT_S)
        return model

    known = doors.service.retrieval._registry.retrievers
    monkeypatch.setitem(known, "prototypes", replace(plugin, fit=slow))
    request = rpb.FitRetrieverRequest(
        collection="digits", retriever="prototypes", labels="label", name="unwanted"
    )
    call = doors.retrieval.FitRetriever.future(request)
    assert began.wait(WAIT_S)
    call.cancel()
    jobs, until_s = doors.service.retrieval._jobs, time.monotonic() + WAIT_S
    while not all(job._reason for job in jobs._under_way):
        assert time.monotonic() < until_s
        time.sleep(0.01)
    left.set()
    while jobs._under_way:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    kept = doors.retrieval.ListFitted(rpb.ListFittedRequest(collection="digits")).fitted
    assert "unwanted" not in {each.name for each in kept}


@pytest.mark.parametrize(
    ("diagnostic", "settings", "message"),
    [
        ("drift", {"permutations": 3_000_000}, "'permutations' of 'drift' is from 1 to 100000"),
        ("drift", {"false_alarm_rate": 0.0}, "'false_alarm_rate' of 'drift' is from 2e-05 to"),
        ("hubness", {"most_items": -1}, "'most_items' of 'hubness' is from 2 to 200000, got -1"),
        ("hubness", {"most_items": 9}, "'most_items' is at least 12 with neighbours of 10, got 9"),
        ("prefixes", {"target_recall": 1.5}, "'target_recall' of 'prefixes' is from 0.01 to 1"),
    ],
)
def test_both_doors_refuse_what_is_out_of_bounds(doors, diagnostic, settings, message):
    given = {diagnostic: settings}
    with pytest.raises(grpc.RpcError) as caught:
        doors.retrieval.Diagnose(
            rpb.DiagnoseRequest(collection="digits", settings_json=json.dumps(given))
        )
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert message in caught.value.details()
    response = doors.http.post("/v1/collections/digits/diagnose", json={"settings": given})
    assert response.status_code == 400
    assert response.json()["error"]["message"] == caught.value.details()


def test_a_fit_refuses_what_is_out_of_bounds(doors):
    path = "/v1/collections/digits/retrievers/verification/fit"
    asked = {"labels": "label", "settings": {"false_match_rate": 1e308}}
    told = doors.http.post(path, json=asked).json()["error"]
    assert told["code"] == "INVALID_ARGUMENT"
    expected = "setting 'false_match_rate' of 'verification' is above 0 and below 1, got 1e+308"
    assert told["message"] == expected


def test_a_query_is_no_drift_for_being_longer_than_an_item(doors):
    info = doors.run(doors.service.describe_collection("digits"))
    store = doors.service._collections.ground.store
    ids = [digit.id for digit in doors.stored[:200]]
    vectors = np.stack([each.vector for each in store.get("digits", ids, with_vectors=True)])

    def figures(times):
        queries = [{"tensor": {"values": (times * row).tolist()}} for row in vectors]
        asked = {"diagnostics": ["drift", "hubness"], "queries": queries, "space": info.space}
        results = doors.http.post("/v1/collections/digits/diagnose", json=asked).json()["results"]
        return {name: value for each in results for name, value in each["figures"].items()}

    same, longer = figures(1), figures(3)
    assert (same["drifted"], longer["drifted"]) == (0, 0)
    assert longer["query_nearest_distance"] < 1e-3
    assert longer == pytest.approx(same, rel=1e-3, abs=1e-3)


def test_geolocation_says_why_it_abstains_and_reads_objects_by_dotted_names(doors):
    item = {"id": doors.stored[0].id, "k": 5}
    wrong = {"latitude_field": "lat", "longitude_field": "lon", "place_field": "taken.at"}
    told = doors.http.post("/v1/collections/digits/locate", json={**item, "settings": wrong}).json()
    assert "place" not in told
    assert told["abstained"] == (
        "no neighbour has an object of 'lat' and 'lon' in the field 'taken.at', or the fields "
        "'lat' and 'lon'"
    )
    right = doors.http.post("/v1/collections/digits/locate", json=item).json()
    assert "abstained" not in right
    assert right["place"]
    asked = rpb.AskRetrieverRequest(
        collection="digits", id=item["id"], k=5, retriever="im2gps", settings_json=json.dumps(wrong)
    )
    answer = json.loads(doors.retrieval.AskRetriever(asked).answer_json)
    assert answer["abstained"] == told["abstained"]


def mappings():
    """Every field of an answer's record that is a mapping, with a value whose keys are numbers."""
    found = [*vars(retrieval_answers).values(), *vars(typed).values()]
    for record in found:
        if isinstance(record, type) and issubclass(record, Answer | typed.Typed):
            for name, field in record.model_fields.items():
                if field.annotation == dict[int, float]:
                    yield pytest.param(record, name, {8: 0.5}, id=f"{record.__name__}-{name}")
                if field.annotation == dict[str, Any]:
                    value = {"recall": {8: 0.5}}
                    yield pytest.param(record, name, value, id=f"{record.__name__}-{name}")


@pytest.mark.parametrize(("record", "name", "value"), [*mappings()])
def test_every_answer_is_json_though_the_keys_of_a_mapping_are_numbers(record, name, value):
    sent = orjson.loads(respond(record.model_construct(**{name: value})).body)
    assert sent[name] == json.loads(json.dumps(value))

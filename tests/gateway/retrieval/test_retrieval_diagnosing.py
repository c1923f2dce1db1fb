"""Diagnoses over sockets: figures, curves, findings and gauges of a collection of real digits."""

import base64

import grpc
import numpy as np
import pytest

from kokeshi import metrics
from kokeshi.service.inputs import Tensor
from kokeshi.service.retrieval.records import DiagnoseOptions
from kokeshi.service.types import NewItem
from kokeshi.v1 import retrieval_pb2 as rpb


def gauge(collection, diagnostic, figure):
    return metrics.COLLECTION_DIAGNOSTIC.labels(collection, diagnostic, figure)._value.get()


@pytest.fixture(scope="module")
def whole(doors):
    """All that can be said of the digits, with labels and queries."""
    request = rpb.DiagnoseRequest(
        collection="digits",
        labels="label",
        queries=[digit.input for digit in doors.queries],
        settings_json='{"drift": {"permutations": 199}}',
    )
    return doors.retrieval.Diagnose(request)


def test_every_diagnostic_whose_needs_are_met_says_something(doors, whole):
    installed = doors.retrieval.ListRetrievers(rpb.ListRetrieversRequest()).diagnostics
    expected = {each.name for each in installed if "counterpart" not in each.does}
    assert {result.diagnostic for result in whole.results} == expected
    for result in whole.results:
        assert not result.refused, result.refused
        assert result.figures
        for name, interval in result.intervals.items():
            assert interval.low <= result.figures[name] <= interval.high
    assert (whole.count, whole.of) == (400, 400)


def test_figures_are_on_the_metrics_page(doors, whole):
    results = {result.diagnostic: result for result in whole.results}
    for figure, value in results["hubness"].figures.items():
        assert gauge("digits", "hubness", figure) == pytest.approx(value)
    page = doors.http.get("/metrics").text
    assert 'kokeshi_collection_diagnostic{collection="digits",diagnostic="hubness"' in page


def test_a_wrong_label_is_flagged(doors):
    wrong = doors.stored[:150]
    liar = wrong[0]
    truth, liar.label = liar.label, "4" if liar.label != "4" else "1"
    try:
        doors.fill("liars", "digits_mrl", wrong)
    finally:
        liar.label = truth
    asked = {"diagnostics": ["label_audit"], "labels": "label"}
    (result,) = doors.http.post("/v1/collections/liars/diagnose", json=asked).json()["results"]
    assert liar.id in result["flagged"]
    assert len(result["flagged"]) < 30


def test_queries_of_another_kind_are_drift(doors, whole):
    drift = next(result for result in whole.results if result.diagnostic == "drift")
    assert drift.figures["drifted"] == 0
    ones = [digit for digit in doors.stored if digit.label == "1"]
    queries = [{"image": base64.b64encode(digit.data).decode()} for digit in ones]
    asked = {"diagnostics": ["drift"], "queries": queries}
    (result,) = doors.http.post("/v1/collections/digits/diagnose", json=asked).json()["results"]
    assert result["figures"]["drifted"] == 1
    assert all(len(curve["x"]) == len(curve["y"]) for curve in result["curves"])


def test_lengths_of_vectors_are_no_drift_where_cosines_compare_them(doors):
    space = doors.run(doors.service.create_collection("lengths", "digits_mrl")).space
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((160, 64)).astype(np.float32)
    rows *= rng.uniform(0.1, 9, (160, 1)).astype(np.float32)
    items = [NewItem(str(n), Tensor(row)) for n, row in enumerate(rows[:120])]
    doors.run(doors.service.add_items("lengths", items, space=space))
    queries = [Tensor(5 * row) for row in rows[120:]]
    asked = DiagnoseOptions(["drift", "prefixes"], queries=queries, space=space)
    told = doors.run(doors.service.retrieval.diagnose("lengths", asked))
    assert told.results[0].figures["drifted"] == 0
    assert told.results[0].figures["query_nearest_distance"] < 2


def test_two_spaces_of_the_same_items_are_compared(doors):
    doors.fill("classes", "digits", doors.stored)
    asked = {"diagnostics": ["spaces"], "other": "classes"}
    (result,) = doors.http.post("/v1/collections/digits/diagnose", json=asked).json()["results"]
    assert 0.2 < result["figures"]["cka_linear"] < 1


def test_what_a_sample_cannot_carry_keeps_no_other_from_finding(doors):
    doors.fill("pair", "digits_mrl", doors.stored[:5])
    asked = {"diagnostics": ["intrinsic_dimension", "drift", "hubness"]}
    results = doors.http.post("/v1/collections/pair/diagnose", json=asked).json()["results"]
    refused = {result["diagnostic"]: result["refused"] for result in results}
    assert refused["drift"] == "expected queries, got none"
    assert "at least" in refused["intrinsic_dimension"]


def test_a_tenants_figures_are_on_no_page(doors):
    doors.fill("rented", "digits_mrl", doors.stored[:60], tenant="ours")
    request = rpb.DiagnoseRequest(collection="rented", diagnostics=["hubness"], tenant="ours")
    assert doors.retrieval.Diagnose(request).results[0].figures
    known = {labels[0] for labels in metrics.COLLECTION_DIAGNOSTIC._metrics}
    assert "rented" not in known


def test_the_gauges_of_a_collection_go_with_it(doors):
    doors.fill("gone", "digits_mrl", doors.stored[:60])
    doors.retrieval.Diagnose(rpb.DiagnoseRequest(collection="gone", diagnostics=["hubness"]))
    doors.run(doors.service.delete_collection("gone"))
    assert "gone" not in {labels[0] for labels in metrics.COLLECTION_DIAGNOSTIC._metrics}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"diagnostics": ["entrails"]}, "NOT_FOUND"),
        ({"settings_json": '{"entrails": {}}'}, "NOT_FOUND"),
        ({"settings_json": '{"hubness": 3}'}, "INVALID_ARGUMENT"),
        ({"settings_json": '{"hubness": {"colour": 3}}'}, "INVALID_ARGUMENT"),
        ({"settings_json": "["}, "INVALID_ARGUMENT"),
        ({"items": 0}, "INVALID_ARGUMENT"),
        ({"other": "nowhere"}, "NOT_FOUND"),
    ],
)
def test_a_diagnosis_that_cannot_be_is_refused(doors, fields, code):
    with pytest.raises(grpc.RpcError) as caught:
        doors.retrieval.Diagnose(rpb.DiagnoseRequest(collection="digits", **fields))
    assert caught.value.code().name == code

"""The Python client's calls of retrievers and diagnostics answer with the service's own records."""

import pytest

from kokeshi.errors import InvalidRequestError, NotFoundError
from kokeshi.gateway.client import Client


@pytest.fixture(scope="module")
def client(doors):
    with Client(doors.address) as made:
        yield made


def test_what_was_fitted_is_listed_as_it_was_told(doors, client):
    told = client.fit_retriever("digits", "open_set", labels="label", name="clients")
    assert told in client.fitted("digits")
    assert told.settings["kind"] == "similarity"
    answer = client.recognise("digits", doors.queries[0].data, fitted="clients")
    assert answer.is_known == (answer.score >= answer.threshold)
    assert 0 <= answer.false_alarms.low <= answer.false_alarms.high
    client.delete_fitted("digits", "clients")
    with pytest.raises(NotFoundError, match="nothing is fitted under 'clients'"):
        client.delete_fitted("digits", "clients")


def test_the_client_asks_as_the_service_is_asked(doors, client):
    digit = doors.queries[0]
    assert client.vote("digits", digit.data, k=10).label == digit.label
    assert client.locate("digits", digit.data).place.latitude == pytest.approx(
        5 * int(digit.label), abs=1
    )
    assert len(client.associate("digits", id=doors.stored[0].id, k=7).weights) == 7
    answer = client.ask_retriever("digits", digit.data, retriever="neighbour_vote", k=10)
    assert answer.answer["label"] == digit.label
    assert len(answer.neighbours) == 10
    with pytest.raises(InvalidRequestError, match="input"):
        client.vote("digits")


def test_pairs_are_verified_through_the_client(doors, client):
    client.fit_retriever("digits", "verification", labels="label", settings={"draws": 20})
    digit = doors.queries[0]
    answer = client.verify("digits", digit.data, field="label", value=digit.label)
    assert answer.verdict == "same"
    assert answer.of > answer.references == 3


def test_spaces_are_mapped_and_turned_through_the_client(doors, client):
    pairs = [(digit.id, digit.data) for digit in doors.stored[:200]]
    info = client.fit_map("digits", model="digits", pairs=pairs, least_recall=0.1)
    assert 0.1 < info.recall <= 1
    client.create_collection("by_client", "digits")
    assert client.start_migration("digits", "by_client").total == 400
    assert client.describe_transfer("by_client").target == "by_client"
    turned = client.rotate_collection("digits", "by_client_turned", dimensions=[16])
    assert set(turned.energy) == {16, 64}


def test_a_diagnosis_comes_with_its_curves(doors, client):
    answer = client.diagnose("digits", ["hubness", "intrinsic_dimension"], labels="label")
    assert [each.diagnostic for each in answer.results] == ["hubness", "intrinsic_dimension"]
    curves = [curve for each in answer.results for curve in each.curves]
    assert all(len(curve.x) == len(curve.y) > 0 for curve in curves)
    assert {each.kind for each in client.retrievers()} == {"retriever", "diagnostic"}

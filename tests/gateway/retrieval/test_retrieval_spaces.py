"""Maps, migrations and rotations over sockets, between the spaces of the two shipped models."""

import time

import grpc
import numpy as np
import pytest

from kokeshi import metrics
from kokeshi.index import CollectionSpec
from kokeshi.service.inputs import Image, Tensor
from kokeshi.service.retrieval.keeping import ROTATION
from kokeshi.service.retrieval.records import Question
from kokeshi.service.types import NewItem, OnConflict
from kokeshi.v1 import retrieval_pb2 as rpb


def refused(call, request):
    with pytest.raises(grpc.RpcError) as caught:
        call(request)
    return caught.value.code().name, caught.value.details()


def finished(doors, target, tenant=""):
    """A transfer when it does not run any more."""
    request = rpb.DescribeTransferRequest(target=target, tenant=tenant)
    for _ in range(600):
        told = doors.retrieval.DescribeTransfer(request)
        if told.state != "running":
            return told
        time.sleep(0.05)
    raise AssertionError(f"the transfer never ended: {told}")


@pytest.fixture(scope="module")
def mapped(doors):
    """A map from the old collection `digits` into the space of the model `digits`."""
    pairs = [rpb.MapPair(id=digit.id, input=digit.input) for digit in doors.stored]
    return doors.retrieval.FitMap(
        rpb.FitMapRequest(collection="digits", model="digits", pairs=pairs, least_recall=0.3)
    )


def test_no_map_leads_into_or_out_of_a_ball(doors):
    store = doors.service._collections.ground.store
    store.create(CollectionSpec("ball", "f" * 16, 3, metric="hyperbolic"))
    try:
        for one, other in (("ball", "digits"), ("digits", "ball")):
            request = rpb.FitMapRequest(collection=one, other=other)
            code, said = refused(doors.retrieval.FitMap, request)
            assert (code, "a map gives unit vectors" in said) == ("INVALID_ARGUMENT", True)
    finally:
        store.drop("ball")


def test_a_map_is_measured_on_held_out_queries(doors, mapped):
    assert mapped.count == 400
    assert 0.3 < mapped.recall <= 1
    assert mapped.source == doors.run(doors.service.describe_collection("digits")).space
    assert mapped.target == doors.service.card("digits").space


def test_a_map_that_finds_too_little_is_refused(doors):
    pairs = [rpb.MapPair(id=digit.id, input=digit.input) for digit in doors.stored]
    request = rpb.FitMapRequest(
        collection="digits", model="digits", pairs=pairs, least_recall=0.999
    )
    code, message = refused(doors.retrieval.FitMap, request)
    assert code == "INVALID_ARGUMENT"
    assert "held-out queries, and 0.999 is asked for" in message


def test_a_collection_moves_to_another_model_while_it_is_served(doors, mapped):
    doors.run(doors.service.create_collection("newer", "digits"))
    early = doors.stored[:20]
    doors.fill("newer", "digits", early)  # its own vectors, which no map may replace
    own = doors.run(doors.service.get_items("newer", [early[0].id], with_vectors=True))[0]
    doors.retrieval.StartMigration(rpb.StartMigrationRequest(source="digits", target="newer"))
    told = finished(doors, "newer")
    assert (told.state, told.read, told.written, told.total) == ("done", 400, 380, 400)
    assert told.native_share == pytest.approx(20 / 400)
    assert told.recall == pytest.approx(mapped.recall)
    assert metrics.TRANSFER_PROGRESS.labels("newer")._value.get() == 1
    kept = doors.run(doors.service.get_items("newer", [early[0].id], with_vectors=True))[0]
    assert (kept.vector == own.vector).all()
    digit = doors.queries[0]
    asked = rpb.AskRetrieverRequest(collection="newer", input=digit.input, k=10)
    assert doors.retrieval.Vote(asked).label == digit.label


def test_items_that_a_client_embeds_again_replace_mapped_ones(doors, mapped):
    doors.run(doors.service.create_collection("lazily", "digits"))
    doors.retrieval.StartMigration(rpb.StartMigrationRequest(source="digits", target="lazily"))
    assert finished(doors, "lazily").native_share == 0
    finish = rpb.FinishMigrationRequest(target="lazily", alias="numbers", least_native_share=0.2)
    code, message = refused(doors.retrieval.FinishMigration, finish)
    assert (code, "are asked for" in message) == ("INVALID_ARGUMENT", True)
    again = [NewItem(d.id, Image(d.data), d.metadata) for d in doors.stored[:100]]
    doors.run(
        doors.service.add_items("lazily", again, on_conflict=OnConflict.REPLACE),
    )
    assert finished(doors, "lazily").native_share == pytest.approx(0.25)
    assert metrics.TRANSFER_NATIVE.labels("lazily")._value.get() == pytest.approx(0.25)
    assert doors.retrieval.FinishMigration(finish).alias == "numbers"
    assert doors.run(doors.service.describe_collection("numbers")).name == "lazily"


def test_without_a_map_nothing_moves(doors):
    doors.fill("unmapped", "digits", doors.stored[:5])
    request = rpb.StartMigrationRequest(source="unmapped", target="digits")
    code, message = refused(doors.retrieval.StartMigration, request)
    assert code == "FAILED_PRECONDITION"
    assert "fit one with direction 'items'" in message
    request = rpb.DescribeTransferRequest(target="unmapped")
    assert refused(doors.retrieval.DescribeTransfer, request)[0] == "NOT_FOUND"


def test_a_transfer_goes_on_after_a_stop(doors, mapped):
    retrieval = doors.service.retrieval
    doors.run(doors.service.create_collection("stopped", "digits"))
    doors.retrieval.StartMigration(rpb.StartMigrationRequest(source="digits", target="stopped"))
    doors.run(retrieval._transfers.close())
    seen = retrieval._keeper.header("stopped", "transfer", "transfer")
    doors.run(retrieval.start())
    told = finished(doors, "stopped")
    assert (told.state, told.written) == ("done", 400)
    assert seen["read"] < 400 or seen["state"] == "done"


def test_queries_of_a_newer_model_search_an_old_collection(doors):
    doors.fill("same", "digits", doors.stored)
    request = rpb.FitMapRequest(
        collection="digits",
        other="same",
        direction=rpb.FitMapRequest.DIRECTION_QUERIES,
        least_recall=0.3,
    )
    told = doors.retrieval.FitMap(request)
    assert told.recall > 0.3
    digit = doors.queries[0]
    asked = rpb.AskRetrieverRequest(collection="digits", input=digit.input, model="digits", k=10)
    assert doors.retrieval.Vote(asked).label == digit.label
    found = doors.run(doors.service.search("digits", [Image(digit.data)], k=5, model="digits"))
    assert found.results[0][0].metadata["label"] == digit.label


def test_a_rotated_collection_orders_its_dimensions(doors):
    doors.fill("plain", "digits", doors.stored)
    plain = doors.run(doors.service.describe_collection("plain"))
    request = rpb.RotateCollectionRequest(
        collection="plain", name="turned", settings_json='{"items_per_dimension": 1.0}'
    )
    told = doors.retrieval.RotateCollection(request)
    assert finished(doors, "turned").written == 400
    turned = doors.run(doors.service.describe_collection("turned"))
    assert turned.space == told.space != plain.space
    assert turned.dimensions[0] == 8
    shares = [told.energy[length] for length in turned.dimensions]
    assert shares == sorted(shares)
    assert shares[0] > 8 / plain.dimension
    assert shares[-1] == pytest.approx(1)
    answers = {
        name: doors.run(
            doors.service.retrieval.ask(
                name, Question(Image(doors.queries[0].data), "neighbour_vote", k=10)
            )
        ).neighbours
        for name in ("plain", "turned")
    }
    assert answers["plain"] == answers["turned"]
    digit = doors.queries[0]
    short = rpb.AskRetrieverRequest(collection="turned", input=digit.input, dimension=8, k=10)
    assert doors.retrieval.Vote(short).label == digit.label
    found = doors.run(doors.service.search("turned", [Image(digit.data)], k=10))
    assert [hit.id for hit in found.results[0]] == list(answers["plain"])
    more = NewItem("more", Image(digit.data), digit.metadata)
    doors.run(doors.service.add_items("turned", [more]))
    found = doors.run(doors.service.search("turned", [Image(digit.data)], k=1)).results[0][0]
    assert (found.id, found.score) == ("more", pytest.approx(1))
    vector = Tensor(doors.run(doors.service.embed("digits", [Image(digit.data)])).vectors[0].values)
    found = doors.run(doors.service.search("turned", [vector], k=1, space=plain.space))
    assert found.results[0][0].id == "more"
    way = doors.service.retrieval._keeper.way(ROTATION, "turned", plain.space, turned.space)
    stored = {
        name: doors.run(doors.service.get_items(name, [doors.stored[0].id], with_vectors=True))[0]
        for name in ("plain", "turned")
    }
    np.testing.assert_allclose(
        way(stored["plain"].vector[None])[0], stored["turned"].vector, atol=1e-6
    )


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"name": "digits"}, "ALREADY_EXISTS"),
        ({"name": "Not A Name"}, "INVALID_ARGUMENT"),
        ({"name": "x", "dimensions": [65]}, "INVALID_ARGUMENT"),
        ({"name": "x", "retriever": "hopfield"}, "INVALID_ARGUMENT"),
        ({"name": "x", "settings_json": '{"items_per_dimension": 100.0}'}, "INVALID_ARGUMENT"),
    ],
)
def test_a_rotation_that_cannot_be_is_refused(doors, fields, code):
    request = rpb.RotateCollectionRequest(collection="digits", **fields)
    assert refused(doors.retrieval.RotateCollection, request)[0] == code
    assert "x" not in {info.name for info in doors.run(doors.service.list_collections())}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "INVALID_ARGUMENT"),
        ({"other": "digits"}, "INVALID_ARGUMENT"),
        ({"other": "nowhere"}, "NOT_FOUND"),
        ({"other": "digits", "retriever": "verification"}, "INVALID_ARGUMENT"),
        ({"other": "digits", "direction": 9}, "INVALID_ARGUMENT"),
    ],
)
def test_a_map_that_cannot_be_is_refused(doors, fields, code):
    request = rpb.FitMapRequest(collection="digits", **fields)
    assert refused(doors.retrieval.FitMap, request)[0] == code

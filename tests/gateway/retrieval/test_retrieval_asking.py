"""Retrievers by their names over sockets: fitted, kept, asked, on real digits."""

import base64
import json

import grpc
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict

from kokeshi.errors import HTTP_STATUS
from kokeshi.v1 import inputs_pb2
from kokeshi.v1 import retrieval_pb2 as rpb


def fit(doors, retriever, **fields):
    request = rpb.FitRetrieverRequest(collection="digits", retriever=retriever, **fields)
    return doors.retrieval.FitRetriever(request)


def about(digit, **fields):
    return rpb.AskRetrieverRequest(collection="digits", input=digit.input, **fields)


def body(digit, **fields):
    return {"input": {"image": base64.b64encode(digit.data).decode()}, **fields}


@pytest.fixture(scope="module")
def fitted(doors):
    """Everything that the tests ask, fitted on labels."""
    settings = json.dumps({"draws": 20})
    return {
        "verification": fit(doors, "verification", labels="label", settings_json=settings),
        "open_set": fit(doors, "open_set", labels="label"),
        "hopfield": fit(doors, "hopfield", labels="label"),
        "prototypes": fit(doors, "prototypes", labels="label"),
    }


def refused(call):
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name, caught.value.details()


def test_every_installed_plugin_is_listed_with_its_settings(doors):
    told = doors.retrieval.ListRetrievers(rpb.ListRetrieversRequest())
    assert {"verification", "im2gps", "space_map"} <= {each.name for each in told.retrievers}
    assert {"drift", "hubness"} <= {each.name for each in told.diagnostics}
    vote = next(each for each in told.retrievers if each.name == "neighbour_vote")
    assert json.loads(vote.defaults_json)["voters"] == 20
    assert list(vote.does) == ["answer"]
    assert doors.http.get("/v1/retrievers").json()["retrievers"][0]["distribution"]


def test_a_fit_says_what_it_was_fitted_on(doors, fitted):
    told = fitted["verification"]
    info = doors.run(doors.service.describe_collection("digits"))
    assert (told.collection, told.space, told.count, told.of) == ("digits", info.space, 400, 400)
    assert told.sequence == info.sequence
    assert json.loads(told.settings_json)["draws"] == 20
    known = doors.http.get("/v1/collections/digits/fitted").json()["fitted"]
    assert {each["name"]: each["digest"] for each in known}["verification"] == told.digest


def test_the_same_seed_gives_the_same_model_and_another_may_not(doors, fitted):
    fields = {"labels": "label", "items": 200, "name": "small"}
    first, again = (fit(doors, "prototypes", **fields).digest for _ in range(2))
    assert first == again
    assert fit(doors, "prototypes", **fields, seed=1).digest != first


def test_queries_are_verified_against_subjects_and_items(doors, fitted):
    verdicts = {True: [], False: []}
    for digit in doors.queries[:20]:
        for label in ("3", "7", digit.label):
            answer = doors.retrieval.Verify(
                rpb.VerifyRequest(
                    question=about(digit), field="label", value_json=json.dumps(label)
                )
            )
            verdicts[label == digit.label].append(answer.verdict)
    same, different = rpb.VerifyResponse.VERDICT_SAME, rpb.VerifyResponse.VERDICT_DIFFERENT
    assert verdicts[True].count(same) >= 0.8 * len(verdicts[True])
    assert verdicts[True].count(different) <= 1
    assert verdicts[False].count(same) == 0
    assert verdicts[False].count(different) >= 0.8 * len(verdicts[False])
    assert (answer.references, answer.of) == (3, sum(d.label == label for d in doors.stored))
    digit = doors.queries[0]
    twin = next(each for each in doors.stored if each.label == digit.label)
    other = next(each for each in doors.stored if each.label != digit.label)
    near, far = (
        doors.retrieval.Verify(rpb.VerifyRequest(question=about(digit), against_id=each.id))
        for each in (twin, other)
    )
    assert near.references == 1
    assert near.probability > 0.5 > far.probability
    assert 0 <= near.false_match_rate.low <= near.false_match_rate.value
    assert near.false_match_rate.value <= near.false_match_rate.high < 0.05
    assert near.upper_threshold >= near.lower_threshold


def test_a_prefix_is_verified_by_what_was_fitted_at_it(doors, fitted):
    digit = doors.queries[0]
    answers = {
        length: doors.retrieval.Verify(
            rpb.VerifyRequest(
                question=about(digit, dimension=length),
                field="label",
                value_json=f'"{digit.label}"',
            )
        )
        for length in (8, 64)
    }
    assert answers[8].upper_threshold != answers[64].upper_threshold
    assert (answers[8].dimension, answers[64].dimension) == (8, 64)


def test_both_doors_say_the_same(doors, fitted):
    digit = doors.queries[0]
    calls = {
        "verify": (
            doors.retrieval.Verify,
            rpb.VerifyRequest(question=about(digit), field="label", value_json='"3"'),
            body(digit, field="label", value="3"),
        ),
        "vote": (doors.retrieval.Vote, about(digit, k=20), body(digit, k=20)),
        "locate": (doors.retrieval.Locate, about(digit), body(digit)),
        "recognise": (doors.retrieval.Recognise, about(digit), body(digit)),
        "associate": (doors.retrieval.Associate, about(digit, k=9), body(digit, k=9)),
    }
    for path, (call, request, asked) in calls.items():
        ours = MessageToDict(
            call(request),
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        ours["sequence"] = int(ours["sequence"])
        if "verdict" in ours:
            ours["verdict"] = ours["verdict"].removeprefix("VERDICT_").lower()
        told = doors.http.post(f"/v1/collections/digits/{path}", json=asked).json()
        assert flat(ours) == pytest.approx(flat(told)), path


def flat(value):
    """Leaves by place; counts of 64 bits are texts in protobuf's JSON."""
    if isinstance(value, dict):
        return {
            f"{key}.{place}": leaf
            for key, each in value.items()
            for place, leaf in flat(each).items()
        }
    if isinstance(value, list):
        return flat(dict(enumerate(value)))
    is_number = isinstance(value, str) and value.isdecimal()
    return {"": int(value) if is_number else value}


def test_neighbours_vote_for_labels_and_places(doors):
    answers = [doors.retrieval.Vote(about(digit, k=20)) for digit in doors.queries]
    right = [
        answer.label == digit.label for answer, digit in zip(answers, doors.queries, strict=True)
    ]
    assert np.mean(right) > 0.9
    assert sum(answers[0].shares.values()) == pytest.approx(1)
    digit = doors.queries[right.index(True)]
    place = doors.retrieval.Locate(about(digit)).place
    assert place.latitude == pytest.approx(5 * int(digit.label), abs=1)
    assert place.longitude == pytest.approx(10 * int(digit.label), abs=1)


def test_what_is_like_nothing_stored_is_not_recognised(doors, fitted):
    known = [doors.retrieval.Recognise(about(digit)).is_known for digit in doors.queries]
    assert np.mean(known) > 0.8
    random = np.random.default_rng(0)
    info = doors.run(doors.service.describe_collection("digits"))
    strange = inputs_pb2.Input(
        tensor=inputs_pb2.Tensor(
            data_type=inputs_pb2.Tensor.DATA_TYPE_FLOAT32,
            shape=[64],
            data=random.standard_normal(64).astype("<f4").tobytes(),
        )
    )
    asked = rpb.AskRetrieverRequest(collection="digits", input=strange, space=info.space)
    answer = doors.retrieval.Recognise(asked)
    assert not answer.is_known
    assert answer.score < answer.threshold
    energies = [doors.retrieval.Associate(about(digit, k=10)).energy for digit in doors.queries]
    assert doors.retrieval.Associate(asked).energy > max(energies)


def test_an_item_is_not_among_its_own_neighbours(doors, fitted):
    item = doors.stored[0]
    asked = rpb.AskRetrieverRequest(
        collection="digits", id=item.id, retriever="neighbour_vote", k=5
    )
    answer = doors.retrieval.AskRetriever(asked)
    assert len(answer.neighbours) == 5
    assert item.id not in answer.neighbours
    assert json.loads(answer.answer_json)["voters"] == 5


def test_the_neighbours_of_an_answer_fit_its_filter(doors):
    asked = about(
        doors.queries[0],
        retriever="neighbour_vote",
        filter_json='{"label": {"in": ["1", "2"]}}',
        k=30,
    )
    shares = json.loads(doors.retrieval.AskRetriever(asked).answer_json)["shares"]
    assert set(shares) <= {"1", "2"}


def test_hopfield_answers_before_it_is_fitted_and_by_its_model_after(doors, fitted):
    doors.fill("few", "digits_mrl", doors.stored[:40])
    asked = about(doors.queries[0], k=10)
    asked.collection = "few"
    before = doors.retrieval.Associate(asked)
    doors.retrieval.FitRetriever(
        rpb.FitRetrieverRequest(collection="few", retriever="hopfield", labels="label")
    )
    after = doors.retrieval.Associate(asked)
    assert before.beta == 32
    assert after.beta != before.beta
    assert after.missing_mass_at_most <= 1


def test_judged_pairs_fit_as_labels_do(doors):
    random = np.random.default_rng(0)
    chosen = [doors.stored[row] for row in random.integers(len(doors.stored), size=6000)]
    judgements = [
        rpb.Judgement(left_id=left.id, right_id=right.id, same=left.label == right.label)
        for left, right in zip(chosen[::2], chosen[1::2], strict=True)
        if left.id != right.id
    ]
    told = fit(
        doors,
        "verification",
        judgements=judgements,
        name="judged",
        dimension=16,
        settings_json='{"draws": 20, "false_match_rate": 0.01}',
    )
    assert (told.count, told.dimension) == (len(judgements), 16)
    digit = doors.queries[0]
    twin = next(each for each in doors.stored if each.label == digit.label)
    request = rpb.VerifyRequest(
        question=about(digit, fitted="judged", dimension=16), against_id=twin.id
    )
    assert doors.retrieval.Verify(request).probability > 0.5


def test_a_tenant_has_fits_of_its_own(doors, fitted):
    doors.fill("shared", "digits_mrl", doors.stored[:200], tenant="ours")
    request = rpb.FitRetrieverRequest(
        collection="shared", retriever="prototypes", labels="label", tenant="ours"
    )
    assert doors.retrieval.FitRetriever(request).count == 200
    listed = {
        tenant: len(
            doors.retrieval.ListFitted(
                rpb.ListFittedRequest(collection="shared", tenant=tenant)
            ).fitted
        )
        for tenant in ("", "ours", "theirs")
    }
    assert listed == {"": 0, "ours": 1, "theirs": 0}
    asked = about(doors.queries[0], retriever="prototypes", tenant="theirs")
    asked.collection = "shared"
    assert refused(lambda: doors.retrieval.AskRetriever(asked))[0] == "NOT_FOUND"
    request.tenant = "theirs"
    code, message = refused(lambda: doors.retrieval.FitRetriever(request))
    assert (code, message) == ("INVALID_ARGUMENT", "collection 'shared' has no items to fit on")


def test_a_fit_that_is_deleted_is_gone(doors):
    fit(doors, "open_set", labels="label", name="gone")
    request = rpb.DeleteFittedRequest(collection="digits", name="gone")
    doors.retrieval.DeleteFitted(request)
    assert refused(lambda: doors.retrieval.DeleteFitted(request))[0] == "NOT_FOUND"
    asked = about(doors.queries[0], retriever="open_set", fitted="gone")
    assert refused(lambda: doors.retrieval.AskRetriever(asked))[0] == "NOT_FOUND"


def test_a_damaged_model_is_not_served(doors):
    told = fit(doors, "prototypes", labels="label", name="damaged", items=100)
    notes = doors.service.retrieval._keeper.notes
    data = notes.get("digits", "fitted.model", "damaged")
    notes.put("digits", "fitted.model", "damaged", data.replace(b"cosine", b"cosinE"))
    assert len(data) == told.size_bytes
    asked = about(doors.queries[0], retriever="prototypes", fitted="damaged")
    assert refused(lambda: doors.retrieval.AskRetriever(asked))[0] == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("path", "asked", "code", "message"),
    [
        ("ask", {"retriever": "none"}, "NOT_FOUND", "no retriever named 'none'"),
        ("ask", {}, "INVALID_ARGUMENT", "expected the name of a retriever"),
        ("ask", {"retriever": "space_map"}, "INVALID_ARGUMENT", "answers no queries"),
        ("ask", {"retriever": "verification", "fitted": "no"}, "NOT_FOUND", "nothing is fitted"),
        ("ask", {"retriever": "open_set", "fitted": "prototypes"}, "INVALID_ARGUMENT", "not by"),
        ("vote", {"settings": {"colour": 1}}, "INVALID_ARGUMENT", "no setting 'colour'"),
        ("vote", {"dimension": 7}, "INVALID_ARGUMENT", "dimensions 8, 16, 32, 64, not 7"),
        ("vote", {"k": 0}, "INVALID_ARGUMENT", "k is from 1"),
        ("vote", {"id": "d1"}, "INVALID_ARGUMENT", "an input or an id, got both"),
        ("vote", {"filter": {"label": {"near": 3}}}, "INVALID_ARGUMENT", ""),
        ("vote", {"retriever": "prototypes"}, "INVALID_ARGUMENT", "'share' is missing"),
        ("vote", {"model": "digits"}, "FAILED_PRECONDITION", "these come of space"),
        ("verify", {}, "INVALID_ARGUMENT", "expected an id or a field"),
        ("verify", {"field": "label"}, "INVALID_ARGUMENT", "expected a value of 'label'"),
        ("verify", {"field": "label", "value": "ten"}, "NOT_FOUND", "no other item"),
        ("verify", {"field": "latitude", "value": True}, "NOT_FOUND", "no other item"),
        ("verify", {"against_id": "nobody"}, "NOT_FOUND", ""),
    ],
)
def test_what_is_wrong_is_refused_with_its_reason(doors, fitted, path, asked, code, message):
    response = doors.http.post(
        f"/v1/collections/digits/{path}", json=body(doors.queries[0], **asked)
    )
    told = response.json()["error"]
    assert (told["code"], response.status_code) == (code, HTTP_STATUS[code]), told
    assert message in told["message"]


@pytest.mark.parametrize(
    ("retriever", "asked", "code", "message"),
    [
        ("im2gps", {}, "INVALID_ARGUMENT", "has nothing to fit"),
        ("verification", {}, "INVALID_ARGUMENT", "label"),
        ("verification", {"items": 0}, "INVALID_ARGUMENT", "items is from 1"),
        ("verification", {"labels": "label", "dimension": 9}, "INVALID_ARGUMENT", "not 9"),
        (
            "verification",
            {"judgements": [{"same": True}]},
            "INVALID_ARGUMENT",
            "two ids or a score",
        ),
        (
            "verification",
            {"judgements": [{"same": True, "left_id": "d1", "right_id": "who"}]},
            "INVALID_ARGUMENT",
            "'who', which is not there",
        ),
        (
            "verification",
            {"labels": "label", "judgements": [{"same": True, "score": 1.0}]},
            "INVALID_ARGUMENT",
            "got both",
        ),
        ("open_set", {"other": "nowhere"}, "NOT_FOUND", "nowhere"),
    ],
)
def test_a_fit_that_cannot_be_is_refused(doors, retriever, asked, code, message):
    path = f"/v1/collections/digits/retrievers/{retriever}/fit"
    told = doors.http.post(path, json=asked).json()["error"]
    assert told["code"] == code, told
    assert message in told["message"]

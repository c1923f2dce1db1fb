"""What fits measured comes back at both doors, and searches go by it; on real digits."""

import base64
import json

import grpc
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from kokeshi.cli.index_fit import fit, fitted
from kokeshi.errors import NotFoundError
from kokeshi.gateway.client import Client
from kokeshi.service.types import SearchMode
from kokeshi.v1 import collections_pb2 as cpb
from kokeshi.v1 import retrieval_pb2 as rpb

PLAN = {"shortlist": 20, "recall": 0.9}


@pytest.fixture(scope="module")
def client(doors):
    with Client(doors.address) as made:
        yield made


@pytest.fixture(scope="module")
def verified(client):
    return client.fit_retriever(
        "digits", "verification", labels="label", settings={"draws": 20}, name="measured"
    )


@pytest.fixture
def funnel(client):
    """A funnel that is fitted for one test."""
    yield client.fit_retriever("digits", "funnel", settings=PLAN)
    if "funnel" in {each.name for each in client.fitted("digits")}:
        client.delete_fitted("digits", "funnel")


def test_error_rates_and_the_disagreement_of_classes_come_back_from_a_fit(doors, verified):
    figures = verified.figures
    assert [each["dimension"] for each in figures["pairs"]] == [8, 16, 32, 64]
    rate = figures["pairs"][-1]["upper"]["false_match_rate"]
    assert 0 <= rate["low"] <= rate["value"] <= rate["high"] < 0.05
    assert rate["count"] > 1000
    assert {each["references"] for each in figures["sets"]} == {3}
    opis = {each["dimension"]: each["opis"] for each in figures["consistency"]}
    assert opis[64] < opis[8]  # classes agree more where there are more numbers
    assert figures["consistency"][0]["worst"]
    digit = doors.queries[0]
    answer = doors.retrieval.Verify(
        rpb.VerifyRequest(
            question=rpb.AskRetrieverRequest(
                collection="digits", input=digit.input, fitted="measured"
            ),
            field="label",
            value_json=f'"{digit.label}"',
        )
    )
    assert (
        answer.false_match_rate.count == figures["sets"][-1]["upper"]["false_match_rate"]["count"]
    )


def test_both_doors_keep_and_tell_the_same_figures(doors, verified):
    known = doors.http.get("/v1/collections/digits/fitted").json()["fitted"]
    (by_http,) = [each for each in known if each["name"] == "measured"]
    told = doors.retrieval.ListFitted(rpb.ListFittedRequest(collection="digits")).fitted
    (by_grpc,) = [each for each in told if each.name == "measured"]
    assert by_http["figures"] == json.loads(by_grpc.figures_json) == verified.figures
    path = "/v1/collections/digits/retrievers/open_set/fit"
    fresh = doors.http.post(path, json={"labels": "label", "name": "fresh"}).json()["figures"]
    assert fresh["false_alarms"]["count"] == 200
    assert fresh["caught"]["value"] > 0


def test_a_fit_of_an_older_version_is_listed_without_figures(doors, client):
    client.fit_retriever("digits", "hopfield", labels="label", name="old")
    notes = doors.service.retrieval._keeper.notes
    header = notes.get("digits", "fitted", "old")
    del header["figures"]
    notes.put("digits", "fitted", "old", header)
    (told,) = [each for each in client.fitted("digits") if each.name == "old"]
    assert told.figures == {}
    client.associate("digits", doors.queries[0].data, fitted="old")


def searched(doors, digit, **fields):
    return doors.collections.Search(
        cpb.SearchRequest(collection="digits", queries=[digit.input], **fields)
    )


TWO_STAGE = {"mode": cpb.SEARCH_MODE_TWO_STAGE}


def test_a_search_in_two_stages_takes_the_fitted_plan_at_both_doors(doors, client, funnel):
    first, last = funnel.figures["plan"]["stages"]
    assert first["dimension"] < last["dimension"] == 64
    assert funnel.figures["plan"]["recall"]["low"] >= PLAN["recall"]
    taken = funnel.figures["search"]
    assert taken["dimension"] == first["dimension"]
    assert taken["shortlist"] >= first["keep"]
    by_grpc = searched(doors, doors.queries[0], **TWO_STAGE)
    assert (by_grpc.route.first, by_grpc.route.shortlist) == (
        taken["dimension"],
        taken["shortlist"],
    )
    image = base64.b64encode(doors.queries[0].data).decode()
    by_http = doors.http.post(
        "/v1/collections/digits/search",
        json={"queries": [{"image": image}], "mode": "two_stage"},
    ).json()
    assert by_http["route"]["first"] == taken["dimension"]
    assert by_http["route"]["shortlist"] == taken["shortlist"]
    client.delete_fitted("digits", "funnel")
    assert searched(doors, doors.queries[0], **TWO_STAGE).route != by_grpc.route


def test_searches_by_the_plan_find_as_much_as_the_fit_says(doors, funnel):
    found = []
    for digit in doors.queries:
        exact = searched(doors, digit, mode=cpb.SEARCH_MODE_EXACT).results[0].hits
        hits = searched(doors, digit, **TWO_STAGE).results[0].hits
        found.append(len({hit.id for hit in hits} & {hit.id for hit in exact}) / len(exact))
    recall = funnel.figures["search"]["recall"]
    assert recall["count"] == 100
    assert PLAN["recall"] <= recall["low"] <= recall["value"] <= recall["high"] <= 1
    assert np.mean(found) >= recall["low"]


def test_a_shortlist_that_the_stores_rounding_spoils_is_widened(doors, client):
    told = client.fit_retriever("digits", "funnel", settings=PLAN, name="wide").figures
    first, taken = told["plan"]["stages"][0], told["search"]
    asked = {**TWO_STAGE, "dimension": first["dimension"]}

    def recall(rows):
        found = []
        for digit in doors.queries:
            exact = searched(doors, digit, mode=cpb.SEARCH_MODE_EXACT).results[0].hits
            hits = searched(doors, digit, shortlist=rows, **asked).results[0].hits
            found.append(len({hit.id for hit in hits} & {hit.id for hit in exact}) / len(exact))
        return np.mean(found)

    assert recall(first["keep"]) < PLAN["recall"]
    assert taken["shortlist"] > first["keep"]
    assert recall(taken["shortlist"]) >= PLAN["recall"]


def test_a_plan_that_spares_nothing_is_not_taken_and_says_so(doors, client):
    doors.fill("tiny", "digits_mrl", doors.stored[:60])
    settings = {"shortlist": 40, "recall": 0.9}
    told = client.fit_retriever("tiny", "funnel", settings=settings).figures
    assert "search" not in told
    assert told["search_missing"] == (
        "no shortlist from the plan's 50 to half the 60 items keeps a recall of 0.9"
    )
    told = client.fit_retriever("digits", "funnel", settings=PLAN, dimension=32, name="cut").figures
    assert "from a trained length to 64" in told["search_missing"]
    doors.run(doors.service.create_collection("products", "digits_mrl", metric="ip"))
    doors.fill("products", "digits_mrl", doors.stored)
    told = client.fit_retriever("products", "funnel", settings=PLAN).figures
    assert "the collection's metric is 'ip'" in told["search_missing"]


@pytest.mark.parametrize(
    "asked",
    [
        {"dimension": 32},
        {"shortlist": 150},
        {"k": 11},  # the plan is of 10
        {"group_by": "label"},
        {"collapse": 0.99},
        {"exclude_ids": ["d1"]},
    ],
    ids=lambda asked: next(iter(asked)),
)
def test_what_the_caller_chooses_or_the_fit_did_not_measure_goes_as_without_a_plan(
    doors, client, asked
):
    request = {**TWO_STAGE, **asked}
    before = searched(doors, doors.queries[0], **request)
    client.fit_retriever("digits", "funnel", settings=PLAN)
    after = searched(doors, doors.queries[0], **request)
    plain = searched(doors, doors.queries[0])
    client.delete_fitted("digits", "funnel")
    assert after.route == before.route
    assert plain.route.shortlist == 0  # no other mode takes the plan


def test_a_plan_of_another_tenant_or_of_another_name_is_not_taken(doors, client):
    doors.fill("lent", "digits_mrl", doors.stored[:200])
    doors.fill("lent", "digits_mrl", doors.stored[:200], tenant="ours")
    words = {"mode": SearchMode.TWO_STAGE}
    plain = client.search("lent", [doors.queries[0].data], **words).route
    told = client.fit_retriever("lent", "funnel", settings=PLAN, tenant="ours")
    client.fit_retriever("lent", "funnel", settings=PLAN, name="mine")
    assert client.search("lent", [doors.queries[0].data], **words).route == plain
    ground = doors.service._collections.ground
    info = ground.found("lent")
    assert ground.planning.shortlist(info, 10, "") is None
    assert ground.planning.shortlist(info, 10, "ours").rows == told.figures["search"]["shortlist"]


def test_a_tenants_shortlist_grows_with_the_tenants_items(doors, client):
    doors.fill("grown", "digits_mrl", doors.stored[:100])
    doors.fill("grown", "digits_mrl", doors.stored[:200], tenant="ours")
    told = client.fit_retriever("grown", "funnel", settings=PLAN, tenant="ours")
    assert told.figures["search"]["items"] == 200
    planning = doors.service._collections.ground.planning
    info = doors.service._collections.ground.found("grown")
    before = planning.shortlist(info, 10, "ours")
    assert before.rows == told.figures["search"]["shortlist"]
    doors.fill("grown", "digits_mrl", doors.stored[200:400], tenant="ours")
    info = doors.service._collections.ground.found("grown")
    assert planning.shortlist(info, 10, "ours").rows == 2 * before.rows
    assert planning.shortlist(info, 11, "ours") is None


def test_a_fit_that_no_plan_follows_of_says_why(doors, client):
    told = client.fit_retriever("digits", "funnel", settings={**PLAN, "k": 5}, name="few")
    assert told.figures["plan"]["stages"][-1] == {"dimension": 64, "keep": 5}
    doors.fill("shallow", "digits", doors.stored)
    depths = {"query_depth": 6, "item_depth": 24}
    told = client.fit_retriever("digits", "nested_depth", other="shallow", settings=depths)
    assert len(told.figures["cells"]) == 4
    assert "no measured query depth reaches" in told.figures["plan_missing"]
    message = "'funnel' answers no queries: what it fits says how to search"
    with pytest.raises(grpc.RpcError) as caught:
        doors.retrieval.AskRetriever(
            rpb.AskRetrieverRequest(
                collection="digits", retriever="funnel", input=doors.queries[0].input
            )
        )
    assert message in caught.value.details()


def test_queries_of_another_depth_search_as_the_fit_says(doors, client):
    doors.fill("sixth", "digits_mrl", doors.stored)
    depths = {"query_depth": 6, "item_depth": 24}
    told = client.fit_retriever("digits", "nested_depth", other="sixth", settings=depths)
    plan = told.figures["plan"]
    assert (plan["query_depth"], plan["dimension"], plan["recall"]["low"]) == (6, 8, 1)
    assert "the collection's space and the plan's dimension" in told.figures["use"]
    digit = doors.stored[0]
    (item,) = client.get_items("sixth", [digit.id], with_vectors=True)
    found = client.search(
        "digits", [np.asarray(item.vector)], space=told.space, dimension=plan["dimension"], k=1
    )
    assert found.results[0][0].id == digit.id
    missing = {"retriever": "nested_depth", "settings": depths}
    with pytest.raises(Exception, match="a collection that 'other' names; got none"):
        client.fit_retriever("digits", **missing)


def test_the_nearest_of_many_are_not_verified_as_if_they_had_been_drawn(doors, verified):
    digit = doors.queries[0]
    for asked in ({}, {"k": 3}, {"k": 1}):
        answer = doors.http.post(
            "/v1/collections/digits/ask",
            json={
                "input": {"image": base64.b64encode(digit.data).decode()},
                "retriever": "verification",
                "fitted": "measured",
                **asked,
            },
        )
        assert answer.status_code == 400
        assert "400 items: verify against an item or a subject" in answer.json()["error"]["message"]
    three = [each.id for each in doors.stored if each.label == digit.label][:3]
    asked = {"filter": {"$id": {"in": three}}, "fitted": "measured", "retriever": "verification"}
    told = doors.http.post(
        "/v1/collections/digits/ask",
        json={"input": {"image": base64.b64encode(digit.data).decode()}, **asked},
    ).json()["answer"]
    assert told["references"] == told["fitted_references"] == 3


@pytest.fixture
def run(doors, monkeypatch, tmp_path):
    """Runs a command in an empty folder; what it printed."""
    monkeypatch.setenv("KOKESHI_SERVER", doors.address)
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(fit)
    app.command()(fitted)

    def invoke(*words):
        result = CliRunner().invoke(app, [str(word) for word in words])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


def test_the_command_line_fits_and_tells_what_was_measured(run, client):
    told = run("fit", "digits", "open_set", "--labels", "label", "--as", "typed", "--seed", 2)
    assert "typed: 400 of 400 items" in told.stderr
    assert "false_alarms" in told.stdout
    assert " to " in told.stdout
    again = run("fitted", "digits", "typed", "--json")
    assert json.loads(again.stdout)["figures"]["false_alarms"]["count"] == 200
    assert "typed" in run("fitted", "digits").stdout
    assert run("fitted", "digits", "typed").stdout == told.stdout
    plans = run("fit", "digits", "funnel", "--settings", json.dumps(PLAN), "--as", "planned").stdout
    assert "see --json" in plans
    assert "plan.recall" in plans
    with pytest.raises(NotFoundError, match="nothing is fitted under 'nobody'"):
        run("fitted", "digits", "nobody")


def test_without_a_fit_nothing_is_planned_and_without_notes_searches_go_on(doors, funnel):
    ground = doors.service._collections.ground
    planning = ground.planning
    notes, planning._keeper._notes = planning._keeper._notes, None
    try:
        answer = searched(doors, doors.queries[0], **TWO_STAGE)
    finally:
        planning._keeper._notes = notes
    assert answer.route != searched(doors, doors.queries[0], **TWO_STAGE).route

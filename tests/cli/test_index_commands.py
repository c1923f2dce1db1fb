"""Commands of `kokeshi index`: counts, filters, aliases, explanations, back-ups."""

from pathlib import Path

import pytest
from numpy import eye, float32

from kokeshi.cli.index import app
from kokeshi.cli.index_options import filter_json
from kokeshi.gateway.client import Client
from kokeshi.index.notes import Notes
from kokeshi.service.types import NewItem, Tensor

COLOURS = ("red", "green", "blue", "black")
COMMANDS = """
create list describe delete add get count tenants search explain delete-items
alias aliases delete-alias
import export tune doctor backup restore verify migrate
"""


@pytest.fixture
def name(run, server, request):
    """Four items, each along an axis of its own."""
    made = f"m{abs(hash(request.node.nodeid))}"
    space = run("index", "create", made, "--model", "colours", "--json").json["space"]
    items = [
        NewItem(colour, Tensor(vector), {"label": colour, "size": number})
        for number, (colour, vector) in enumerate(zip(COLOURS, eye(4, dtype=float32), strict=True))
    ]
    with Client(server.grpc) as client:
        client.add_items(made, items, space=space)
        client.add_items(made, items[:1], space=space, tenant="acme")
    return made


def test_every_command_has_its_place():
    told = {one.name or one.callback.__name__.replace("_", "-") for one in app.registered_commands}
    assert told >= set(COMMANDS.split())


def test_items_are_counted_by_filter_and_tenant(run, name):
    assert run("index", "count", name).stdout == "4\n"
    assert run("index", "count", name, "--filter", "size >= 2 or label = 'red'").stdout == "3\n"
    assert run("index", "count", name, "--filter", '{"size": {"lt": 1}}').stdout == "1\n"
    assert run("index", "count", name, "--tenant", "acme", "--json").json == {"count": 1}
    wrong = run("index", "count", name, "--filter", "size >", status=2).stderr
    assert "--filter" in wrong
    assert "character" in wrong


def test_tenants_are_listed_with_their_items(run, name):
    lines = run("index", "tenants", name).stdout.splitlines()
    assert [line.split() for line in lines] == [["tenant", "items"], ["-", "4"], ["acme", "1"]]
    told = run("index", "tenants", name, "--json").json
    assert told == {"tenants": [{"name": "", "count": 4}, {"name": "acme", "count": 1}]}
    assert run("index", "tenants", "none", status=1).error == "no collection 'none'"


def test_a_filter_is_read_as_text_or_json():
    assert filter_json(None) is None
    as_text = filter_json("label = 'red' and size < 3")
    assert as_text == filter_json('{"label": "red", "size": {"lt": 3}}')


def test_items_are_removed_by_filter_only_when_a_person_says_so(run, name):
    asked = run("index", "delete-items", name, "--filter", "size > 1", status=1)
    assert "--yes" in asked.error
    gone = run("index", "delete-items", name, "--filter", "size > 1", "--yes")
    assert gone.stdout == f"removed 2 items from {name}\n"
    assert run("index", "count", name).stdout == "2\n"
    run("index", "delete-items", name, status=2)
    run("index", "delete-items", name, "red", "--filter", "size > 1", "--yes", status=2)
    other = run("index", "delete-items", name, "green", "--tenant", "acme", "--json").json
    assert other["count"] == 0


def test_a_search_keeps_to_filter_tenant_and_threshold(run, name):
    def ids(*words):
        answer = run("search", name, "--id", "red", *words, "--json").json
        return [hit["id"] for hit in answer["results"][0]["hits"]]

    assert set(ids()) == set(COLOURS) - {"red"}
    assert ids("--filter", "size = 2") == ["blue"]
    assert ids("--tenant", "acme") == []
    assert ids("--threshold", 0.5) == []
    assert len(ids("--recall-target", 0.9, "-k", 2)) == 2
    told = run("search", name, "--id", "red", "--budget-ms", 50).stdout.splitlines()
    assert told[0].split() == ["query", "rank", "id", "score", "label"]
    assert told[1].startswith("id:red")


def test_a_search_without_hits_has_the_columns_of_one_with_hits(run, name):
    words = ("search", name, "--id", "red", "--filter", "size > 9")
    (header,) = run(*words).stdout.splitlines()
    assert header.split() == ["query", "rank", "id", "score", "label"]
    (grouped,) = run(*words, "--group-by", "label").stdout.splitlines()
    assert grouped.split() == ["query", "group", "rank", "id", "score", "label"]


def test_a_search_by_examples_is_one_query_more(run, name):
    words = ("search", name, "--like", "red", "--like", "green", "--unlike", "blue")
    (result,) = run(*words, "--json").json["results"]
    assert result["query"] == "like:red like:green unlike:blue"
    assert [hit["id"] for hit in result["hits"]] == ["black"]
    both = run(*words, "--id", "black", "-k", 1, "--json").json["results"]
    assert [one["query"] for one in both] == ["id:black", "like:red like:green unlike:blue"]
    assert [len(one["hits"]) for one in both] == [1, 1]
    assert run(*words).stdout.splitlines()[1].startswith("like:red like:green unlike:blue")
    alone = run("search", name, "--unlike", "blue", status=1).error
    assert alone == "examples need at least one positive one"
    assert "no item 'white'" in run("search", name, "--like", "white", status=1).error


def test_a_search_finds_groups_of_hits(run, name, server):
    with Client(server.grpc) as client:
        space = client.describe_collection(name).space
        more = [
            NewItem(f"{colour}2", Tensor(vector + 0.1), {"label": colour, "size": number})
            for number, (colour, vector) in enumerate(
                zip(COLOURS[:2], eye(4, dtype=float32), strict=False)
            )
        ]
        client.add_items(name, more, space=space)
    words = ("search", name, "--id", "red", "-k", 2, "--group-by", "label", "--group-size", 2)
    (result,) = run(*words, "--json").json["results"]
    assert [group["value"] for group in result["groups"]] == ["red", "green"]
    assert [[hit["id"] for hit in group["hits"]] for group in result["groups"]] == [
        ["red2"],
        ["green2", "green"],
    ]
    lines = [line.split() for line in run(*words).stdout.splitlines()]
    assert lines[0] == ["query", "group", "rank", "id", "score", "label"]
    assert [line[:-2] for line in lines[1:]] == [
        ["id:red", "red", "1", "red2"],
        ["green", "1", "green2"],
        ["2", "green"],
    ]
    none = run(*words, "--filter", "size > 9", "--json").json["results"]
    assert none == [{"query": "id:red", "groups": []}]
    by_size = run("search", name, "--like", "red", "--group-by", "size", "--json").json["results"]
    assert {group["value"] for group in by_size[0]["groups"]} == {0, 1, 2, 3}


def test_groups_that_can_never_be_are_refused(run, name):
    size_alone = run("search", name, "--id", "red", "--group-size", 2, status=1).error
    assert size_alone == "a group_size is of group_by, which is not given"
    words = ("--group-by", "label", "--collapse", 0.9)
    assert "group_by or collapse" in run("search", name, "--id", "red", *words, status=1).error
    assert "--like" in run("search", name, status=2).stderr


def test_explain_says_at_which_stage_an_item_left(run, name):
    told = run("index", "explain", name, "blue", "--id", "red", "-k", 10).stdout
    assert told.startswith("blue: found - it is hit number ")
    assert "dimension" in told
    out = run("index", "explain", name, "blue", "--id", "red", "--filter", "size < 2").stdout
    assert out.startswith("blue: filter - its metadata do not fit the filter\n")
    gone = run("index", "explain", name, "white", "--id", "red", "--json").json
    assert gone["stage"] == "not_stored"
    run("index", "explain", name, "blue", status=2)


def test_aliases_are_set_listed_and_removed(run, name):
    one, two = f"{name}a", f"{name}b"
    set_ = run("index", "alias", f"{one}={name}", f"{two}={name}", "--json").json["aliases"]
    assert {alias["name"] for alias in set_} >= {one, two}
    assert run("index", "count", one).stdout == "4\n"
    assert run("index", "aliases", name).stdout.splitlines()[1].split() == [one, name]
    assert run("index", "delete-alias", one).stdout == f"removed the alias {one}\n"
    left = run("index", "aliases", name, "--json").json["aliases"]
    assert [alias["name"] for alias in left] == [two]
    assert "ALIAS=COLLECTION" in run("index", "alias", one, status=2).stderr


def test_a_backup_of_a_running_server_is_verified_and_restored(run, name, server):
    data = server.log.parent / "data"
    run("index", "alias", f"{name}a={name}")
    run("index", "backup", "kept", "--data", data)
    assert name in run("index", "verify", "kept").stdout
    told = run("index", "restore", "kept", "--data", "again", "--json").json
    assert told["notes"]["survey"]["aliases"] >= 1
    with Notes(Path("again")) as notes:
        assert notes.resolve(f"{name}a") == name
    sound = run("index", "verify", "--data", "again", "--json").json
    rows = {one["name"]: one["rows"] for one in sound["collections"]}
    assert rows[name] == 5

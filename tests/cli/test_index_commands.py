"""Commands of `kokeshi index`: counts, filters, aliases, explanations, back-ups."""

import pytest
from numpy import eye, float32

from kokeshi.cli.index import app
from kokeshi.cli.index_options import filter_json
from kokeshi.gateway.client import Client
from kokeshi.service.types import NewItem, Tensor

COLOURS = ("red", "green", "blue", "black")
COMMANDS = """
create list describe delete add get count search explain delete-items alias aliases delete-alias
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
    run("index", "backup", "kept", "--data", data)
    assert name in run("index", "verify", "kept").stdout
    run("index", "restore", "kept", "--data", "again")
    sound = run("index", "verify", "--data", "again", "--json").json
    rows = {one["name"]: one["rows"] for one in sound["collections"]}
    assert rows[name] == 5

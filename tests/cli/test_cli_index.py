"""Collections from the command line."""

import zipfile

import pytest

from kokeshi.cli.ingest import portions
from kokeshi.cli.pictures import Picture
from kokeshi.service.types import Limits

COLOURS = ("red", "green", "blue")


@pytest.fixture
def name(run, request):
    """An empty collection of this test's own."""
    made = f"c{abs(hash(request.node.nodeid))}"
    run("index", "create", made, "--model", "colours")
    return made


@pytest.fixture
def folder(make_picture, tmp_path):
    """photos/<colour>/<number>.png, with a file that is no picture."""
    for number, colour in enumerate(COLOURS):
        place = tmp_path / "photos" / colour
        place.mkdir(parents=True)
        (place / f"{number}.png").write_bytes(make_picture(colour))
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    (tmp_path / "photos" / ".hidden.png").write_bytes(b"")
    return tmp_path / "photos"


def count(run, name):
    return run("index", "describe", name, "--json").json["count"]


@pytest.fixture
def red_alone(make_picture, tmp_path):
    path = tmp_path / "alone.png"
    path.write_bytes(make_picture("red"))
    return path


def test_a_collection_is_made_told_and_removed(run):
    made = run("index", "create", "one", "--model", "colours", "--index", "flat", "--json").json
    assert (made["model"], made["index"], made["dimension"]) == ("colours", "flat", 4)
    listed = run("index", "list", "--json").json["collections"]
    assert made in listed
    assert "one" in run("index", "list").stdout
    assert "space" in run("index", "describe", "one").stdout
    assert run("index", "delete", "one", "--yes", "--json").json == {"deleted": "one", "items": 0}
    assert run("index", "describe", "one", status=1).error == "no collection 'one'"


def test_if_missing_keeps_a_collection_of_the_same_model(run, name):
    run("index", "create", name, "--model", "colours", status=1)
    kept = run("index", "create", name, "--model", "colours", "--if-missing", "--json").json
    assert kept["name"] == name
    run("index", "create", name, "--model", "pair", "--if-missing", status=1)


def test_the_metric_may_be_another_of_the_same_space(run):
    words = ("index", "create", "products", "--model", "colours")
    made = run(*words, "--metric", "ip", "--json").json
    assert made["metric"] == "ip"
    assert run(*words, "--if-missing", "--metric", "ip", "--json").json["name"] == "products"
    assert run(*words, "--if-missing", "--metric", "l2", status=1).error.endswith("exists")
    refused = run(
        "index", "create", "points", "--model", "colours", "--metric", "hyperbolic", status=1
    )
    assert "metric must be cosine, ip or l2" in refused.error


def test_nothing_is_removed_when_nobody_can_be_asked(run, name):
    assert "--yes" in run("index", "delete", name, status=1).error
    assert count(run, name) == 0


def test_a_folder_is_added_with_paths_as_ids_and_folders_as_labels(run, name, folder):
    done = run("index", "add", name, "photos", "--json")
    assert done.json == {"added": 3, "skipped": 0, "ignored": 2}
    assert done.stderr == "ignored 2 files that are no images\n"
    (item,) = run("index", "get", name, "green/1.png", "--json").json["items"]
    assert item["metadata"] == {"file": "green/1.png", "label": "green"}
    assert item["vector"] is None
    (item,) = run("index", "get", name, "green/1.png", "--vectors", "--json").json["items"]
    assert len(item["vector"]) == 4
    assert "green/1.png" in run("index", "get", name, "green/1.png").stdout


def test_a_vector_is_one_line_of_the_table(run, name, folder):
    run("index", "add", name, folder)
    lines = run("index", "get", name, "green/1.png", "--vectors").stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].split() == ["id", "sequence", "metadata", "vector"]


def test_a_column_that_holds_nothing_is_left_out(run, name, red_alone):
    run("index", "add", name, red_alone)
    lines = run("search", name, red_alone).stdout.splitlines()
    assert lines[0].split() == ["query", "rank", "id", "score"]  # no label


def test_files_are_added_by_the_path_that_was_named(run, name, folder):
    added = run("index", "add", name, "photos/red/0.png", folder / "blue" / "2.png")
    assert added.stdout == f"added 2 images to {name}, left 0 as they were\n"
    items = run("index", "get", name, "photos/red/0.png", "2.png", "--json").json["items"]
    assert [item["metadata"].get("label") for item in items] == ["red", None]


def test_an_archive_is_added_as_its_folder_would_be(run, name, folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
        archive.writestr("__MACOSX/red/0.png", b"no picture")
    assert run("index", "add", name, "photos.zip", "--json").json == {
        "added": 3,
        "skipped": 0,
        "ignored": 3,
    }
    assert run("search", name, "text:x", status=1).error
    best = run("search", name, "photos/blue/2.png", "-k", 1, "--json").json["results"]
    assert best[0]["hits"][0]["metadata"] == {"file": "blue/2.png", "label": "blue"}


def test_an_id_that_exists_fails_is_replaced_or_is_left(run, name, folder, make_picture):
    run("index", "add", name, "photos")
    told = run("index", "add", name, "photos", status=1).error
    assert "red/0.png" in told or "blue/2.png" in told
    assert told.endswith("(0 pictures were added before)")
    assert run("index", "add", name, "photos", "--replace", "--json").json["added"] == 3
    left = run("index", "add", name, "photos", "--skip-existing", "--json").json
    assert (left["added"], left["skipped"]) == (0, 3)
    (folder / "red" / "9.png").write_bytes(make_picture("red"))
    left = run("index", "add", name, "photos", "--skip-existing", "--json").json
    assert (left["added"], left["skipped"]) == (1, 3)
    assert count(run, name) == 4
    run("index", "add", name, "photos", "--replace", "--skip-existing", status=2)


def test_a_bad_picture_is_named_and_those_before_it_are_kept(run, name, folder):
    (folder / "green" / "1.png").write_bytes(b"no picture at all")
    told = run("index", "add", name, "photos", status=1).error
    assert told.startswith("'green/1.png': ")
    assert told.endswith("(1 pictures were added before)")
    assert count(run, name) == 1


def test_two_pictures_with_one_id_are_refused_before_anything_is_added(run, name, folder):
    told = run("index", "add", name, "photos", "photos", status=1).error
    assert told == "two pictures have the id 'blue/2.png'; add them apart"
    assert count(run, name) == 0


def test_paths_and_archives_that_are_none_are_refused(run, name, tmp_path):
    assert "neither a file nor a folder" in run("index", "add", name, "x", status=2).stderr
    (tmp_path / "bad.zip").write_bytes(b"no archive")
    assert "'bad.zip' cannot be read" in run("index", "add", name, "bad.zip", status=1).error


def test_items_are_removed_by_id(run, name, folder):
    run("index", "add", name, "photos")
    removed = run("index", "delete-items", name, "red/0.png", "absent", "--json").json
    assert removed["count"] == 1
    told = run("index", "delete-items", name, "blue/2.png").stdout
    assert told == f"removed 1 of 1 items from {name}\n"
    assert count(run, name) == 1


def test_search_finds_the_colour_nearest_to_each_image(run, name, folder):
    run("index", "add", name, "photos")
    words = [name, "photos/red/0.png", "photos/green/1.png", "-k", 2, "--json"]
    answer = run("search", *words).json
    assert answer == run("index", "search", *words).json
    assert (answer["dimension"], answer["higher_is_better"]) == (4, True)
    best = [(result["query"], result["hits"][0]["id"]) for result in answer["results"]]
    assert best == [("photos/red/0.png", "red/0.png"), ("photos/green/1.png", "green/1.png")]
    assert [len(result["hits"]) for result in answer["results"]] == [2, 2]
    exact = run("search", *words[:-3], "--mode", "exact", "--dimension", 2).stdout
    assert exact.splitlines()[0].split() == ["query", "rank", "id", "score", "label"]


def test_search_finds_images_by_a_text(run, folder):
    run("index", "create", "pairs", "--model", "pair")
    run("index", "add", "pairs", "photos")
    answer = run("search", "pairs", "--text", "blue", "-k", 1, "--model", "pair", "--json").json
    assert answer["results"][0]["query"] == "text:blue"
    assert answer["results"][0]["hits"][0]["id"] == "blue/2.png"


def test_search_for_nothing_is_wrong_usage(run, name):
    assert "--text" in run("search", name, status=2).stderr


def test_portions_keep_the_servers_limits():
    pictures = [Picture(str(i), size, bytes) for i, size in enumerate([40, 40, 40, 200, 1])]
    limits = Limits(max_request_bytes=100, max_inputs=2)
    told = [[picture.id for picture in portion] for portion in portions(pictures, limits)]
    assert told == [["0", "1"], ["2"], ["3"], ["4"]]
    many = [Picture(str(i), 1, bytes) for i in range(5)]
    assert [len(portion) for portion in portions(many, limits)] == [2, 2, 1]
    assert [len(portion) for portion in portions(many, Limits())] == [5]

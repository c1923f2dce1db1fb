"""Commands that ask models of a running server."""

import base64

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def red(make_picture, tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(make_picture("red"))
    return path


@pytest.fixture
def blue(make_picture, tmp_path):
    path = tmp_path / "blue.png"
    path.write_bytes(make_picture("blue"))
    return path


def test_classify_names_the_colour_of_each_image(run, red, blue):
    answer = run("classify", "colours", "red.png", "blue.png", "--json").json
    assert answer["model"] == {"name": "colours", "version": 1}
    best = [(result["input"], result["labels"][0]["name"]) for result in answer["results"]]
    assert best == [("red.png", "red"), ("blue.png", "blue")]


def test_classify_prints_a_table_without_colours_in_a_pipe(run, red):
    lines = run("classify", "colours", "red.png", "--top-k", 2).stdout.splitlines()
    assert lines[0].split() == ["image", "label", "score"]
    assert lines[1].split()[:2] == ["red.png", "red"]
    assert len(lines) == 3
    assert "\x1b" not in "".join(lines)


def test_classify_reads_standard_input(run, make_picture):
    answer = run("classify", "colours", "-", "--json", input=make_picture("green")).json
    assert answer["results"][0]["labels"][0]["name"] == "green"


def test_classify_chooses_among_labels_of_ones_own(run, red):
    words = ["--label", "blue", "--label", "red", "--template", "{}"]
    answer = run("classify", "pair", "red.png", *words, "--json").json
    assert [label["name"] for label in answer["results"][0]["labels"]] == ["red", "blue"]


def test_more_images_than_one_call_takes_are_asked_in_several(run, make_picture, tmp_path):
    names = []
    for number in range(70):
        names.append(f"{number}.png")
        (tmp_path / names[-1]).write_bytes(make_picture(["red", "blue"][number % 2]))
    results = run("classify", "colours", *names, "--top-k", 1, "--json").json["results"]
    told = [(result["input"], result["labels"][0]["name"]) for result in results]
    assert told == [(name, ["red", "blue"][i % 2]) for i, name in enumerate(names)]


def test_a_file_that_is_no_image_is_named_among_many(run, red, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    names = ["red.png"] * 40 + ["notes.txt"]  # alone with others in the second call
    told = run("classify", "colours", *names, "red.png", status=1).error
    assert told.startswith("'notes.txt': not an image")


def test_segment_tells_the_regions_and_writes_the_mask(run, red, tmp_path):
    done = run("segment", "regions", "red.png", "-o", "mask.png", "--json")
    (result,) = done.json["results"]
    assert [(r["label"], r["area_pixels"]) for r in result["regions"]] == [("red", 200)]
    mask = Image.open(tmp_path / "mask.png")
    assert mask.size == (20, 10)
    assert not np.array(mask).any()
    assert base64.b64decode(result["label_map_png"]) == (tmp_path / "mask.png").read_bytes()
    assert done.stderr == "wrote mask.png\n"


def test_segment_writes_the_foreground_in_grey(run, make_picture, tmp_path):
    (tmp_path / "white.png").write_bytes(make_picture("white"))
    run("segment", "glow", "white.png", "-o", "mask.png")
    assert (np.array(Image.open(tmp_path / "mask.png")) == 255).all()


def test_segment_tells_masks_as_run_lengths(run, red):
    answer = run("segment", "regions", "red.png", "--format", "rle", "--json").json
    (region,) = answer["results"][0]["regions"]
    assert region["rle"] == {"height": 10, "width": 20, "counts": [0, 200]}


def test_segment_writes_no_run_lengths_into_a_png(run, red):
    told = run("segment", "regions", "red.png", "--format", "rle", "-o", "mask.png", status=2)
    assert "--output writes a PNG, not rle" in told.stderr


def test_a_mask_that_cannot_be_written_is_one_line(run, red):
    told = run("segment", "regions", "red.png", "-o", "absent/mask.png", status=1)
    assert told.error == "'absent/mask.png' cannot be written: No such file or directory"


def test_embed_tells_vectors_and_writes_them(run, red, blue, tmp_path):
    answer = run(
        "embed", "colours", "red.png", "blue.png", "--dimension", 2, "-o", "out.npy", "--json"
    ).json
    assert answer["dimension"] == 2
    assert len(answer["space"]) == 16
    written = np.load(tmp_path / "out.npy")
    assert written.dtype == np.float32
    np.testing.assert_allclose([result["values"] for result in answer["results"]], written)
    np.testing.assert_allclose(np.linalg.norm(written[0]), 1, rtol=1e-5)


def test_embed_takes_texts(run):
    answer = run("embed", "pair", "text:red", "--json").json
    assert len(answer["results"][0]["values"]) == 4
    assert "text:red" in run("embed", "pair", "text:red").stdout


def test_compare_tells_the_verdict(run, red, blue):
    answer = run("compare", "colours", "red.png", "blue.png", "--json").json
    assert answer["verdict"] == "different"
    assert run("compare", "colours", "red.png", "red.png").stdout == (
        "similarity 1.0000  distance 0.0000  dimension 4  same (threshold 0.9000)\n"
    )


def test_models_are_those_of_the_server(run):
    models = {model["name"]: model for model in run("models", "--json").json["models"]}
    assert set(models) == {"colours", "tags", "regions", "glow", "pair.image", "pair.text"}
    assert models["colours"]["state"] == "ready"
    assert models["colours"]["dimensions"] == [2, 3, 4]
    assert models["colours"]["licence"] == "Apache-2.0"
    assert "colours" in run("models").stdout


def test_models_of_a_folder_need_no_server(offline, tiny_repository, tmp_path):
    models = offline("models", "--repository", tiny_repository, "--json").json["models"]
    assert [(model["state"], model["licence"]) for model in models] == [
        ("present", "Apache-2.0")
    ] * 6
    (tmp_path / "models" / "broken").mkdir(parents=True)
    (broken,) = offline("models", "--repository", "models", "--json").json["models"]
    assert broken["state"] == "unreadable"
    assert broken["reason"].startswith("there is no config.pbtxt")


def test_what_the_server_refuses_is_one_line(run, red):
    assert run("classify", "colour", "red.png", status=1).error == "no model named 'colour'"
    assert "4, not 5" in run("embed", "colours", "red.png", "--dimension", 5, status=1).error


def test_a_file_that_is_absent_is_wrong_usage(run):
    told = run("classify", "colours", "absent.png", status=2)
    assert "'absent.png' cannot be read: No such file or directory" in told.stderr

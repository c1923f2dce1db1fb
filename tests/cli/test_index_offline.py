"""Commands that open the embedded store themselves: as the server opens it, or not at all."""

import sys

import numpy as np
import pytest

from kokeshi.index import CollectionSpec, EmbeddedStore, Item

SPACE = "0123456789abcdef"
TUNING = "codes_rows=100,hnsw_rows=300,tail_rows=100,closing_rows=5,hnsw_links=4"
ROWS, FEW, DIM = 2000, 10, 16


@pytest.fixture
def data(tmp_path):
    """A data directory of two collections, both compared in full by the usual thresholds."""
    vectors = np.random.default_rng(0).standard_normal((ROWS, DIM)).astype(np.float32)
    with EmbeddedStore(tmp_path / "data") as store:
        items = [Item(f"{n}", vector) for n, vector in enumerate(vectors)]
        for name, count in (("faces", ROWS), ("few", FEW)):
            store.create(CollectionSpec(name, SPACE, DIM, dimensions=(8, DIM), durability="os"))
            store.upsert(name, items[:count], space=SPACE)
    return tmp_path / "data"


@pytest.mark.parametrize("place", ["flag", "environment", "file"])
def test_tune_measures_the_graph_that_the_server_walks(offline, data, monkeypatch, tmp_path, place):
    flags = ["--store-tuning", TUNING] if place == "flag" else []
    if place == "environment":
        monkeypatch.setenv("KOKESHI_STORE_TUNING", TUNING)
    if place == "file":
        (tmp_path / "kokeshi.toml").write_text(f'store_tuning = "{TUNING}"\n')
    words = ["index", "tune", "faces", "--data", data, "--count", 20, "--json"]
    told = offline(*words, *flags).json
    assert told["kind"] == "hnsw"
    assert "hnsw" in {point["dial"]["kind"] for point in told["points"]}


def test_a_threshold_that_is_none_is_refused(offline, data):
    words = ["index", "tune", "faces", "--data", data, "--store-tuning", "rows=1"]
    assert "no threshold 'rows'" in offline(*words, status=1).stderr


def test_tune_makes_no_store_where_there_is_none(offline, tmp_path):
    told = offline("index", "tune", "faces", "--data", tmp_path / "absent", status=1).error
    assert told == f"there is no database in {tmp_path / 'absent'}"
    assert not (tmp_path / "absent").exists()


def test_what_was_measured_is_told_where_it_cannot_be_drawn(offline, data, monkeypatch):
    for module in ("matplotlib.figure", "matplotlib.backends.backend_svg"):
        monkeypatch.setitem(sys.modules, module, None)
    words = ["index", "tune", "faces", "--data", data, "--count", 20, "--plot", "plot.svg"]
    told = offline(*words, status=1)
    assert "recall" in told.stdout
    assert "the plot needs matplotlib" in told.stderr


def test_a_migration_opens_its_target_as_the_server_does(offline, data, tmp_path):
    def files_of_rows(*flags):
        moved = tmp_path / f"moved{len(flags)}"
        words = ["--from", f"embedded:{data}", "--to", f"embedded:{moved}", *flags]
        words += ["--state", f"{moved}.json", "--json"]
        assert offline("index", "migrate", "few", *words).json["copied"] == FEW
        return list(moved.rglob("*.segment"))

    assert not files_of_rows()  # so few rows have no file of their own where a store closes
    assert files_of_rows("--store-tuning", TUNING)


@pytest.mark.parametrize("kind", ["embedded", "qdrant"])
def test_a_migration_makes_no_store_to_move_from(offline, tmp_path, kind):
    words = ["index", "migrate", "faces", "--from", f"{kind}:absent/one", "--to", "embedded:moved"]
    assert "there is no " in offline(*words, status=1).error
    assert not list(tmp_path.iterdir())

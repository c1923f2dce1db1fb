"""What `kokeshi index tune` measures, prints, draws and keeps."""

import json
import random
import re
from contextlib import nullcontext

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from kokeshi.cli.index_tune import tune
from kokeshi.errors import CollectionNotFoundError, InvalidRequestError, SetupError
from kokeshi.index import CollectionSpec, EmbeddedStore, SearchParams, Tuning
from kokeshi.index.notes import Notes
from kokeshi.index.recall import Effort, Measured, NotesKeeper, Sampling
from kokeshi.index.recall.plot import draw
from kokeshi.index.recall.report import measure
from kokeshi.index.recall.surveying import Query, drawn

SPACE = "0123456789abcdef"
ROWS, DIM = 1200, 32


@pytest.fixture
def data(tmp_path, clustered, fill):
    """A data directory with a collection whose searches scan codes."""
    with EmbeddedStore(tmp_path / "data") as store:
        spec = CollectionSpec("faces", SPACE, DIM, dimensions=(4, 8, 16, DIM), index="codes")
        store.create(spec)
        fill(store, "faces", clustered(ROWS, DIM))
    return tmp_path / "data"


@pytest.fixture
def report(data):
    with EmbeddedStore(data) as store:
        rng = random.Random(0)
        queries = drawn(store, store.describe("faces"), Effort(40), rng, turn=nullcontext)
        return measure(store, "faces", queries, k=9)


def run(data, *arguments):
    app = typer.Typer()
    app.command()(tune)
    return CliRunner().invoke(app, ["--data", str(data), *arguments], catch_exceptions=False)


def test_a_row_is_no_neighbour_of_itself(data, clustered):
    vectors = clustered(ROWS, DIM)
    with EmbeddedStore(data) as store:
        own = measure(store, "faces", [Query(f"id{i}", vectors[i]) for i in range(20)], k=2)
        given = measure(store, "faces", [Query(None, vectors[i]) for i in range(20)], k=2)
    assert given.lengths[0].recall.value >= 0.5  # the first of two is the query itself
    assert own.lengths[0].recall.value < given.lengths[0].recall.value


def test_longer_prefixes_find_more(report):
    assert report.k == 10
    assert [one.dimension for one in report.lengths] == [4, 8, 16]
    shares = [one.recall.value for one in report.lengths]
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] < 1


def test_points_tell_recall_and_time(report):
    labels = [point.dial.label for point in report.points]
    assert f"flat {DIM} k 10" in labels
    assert any("shortlist" in label for label in labels)
    for point in report.points:
        assert 0 < point.typical_s <= point.tail_s
        assert point.recall.low <= point.recall.value <= point.recall.high


def test_it_is_drawn(report, tmp_path):
    draw(report, tmp_path / "plot.svg")
    text = (tmp_path / "plot.svg").read_text()
    assert text.startswith("<?xml")
    assert len(re.findall('id="axes_', text)) == 2


def test_the_command_prints_draws_and_keeps(data, tmp_path):
    plot = tmp_path / "plot.svg"
    told = run(data, "faces", "--count", "40", "--plot", str(plot)).stdout
    assert "recall" in told
    assert re.search(r"flat 32 k 10 +1\.0000 +1\.0000 +1\.0000 +exact", told)
    assert plot.stat().st_size > 1000
    with EmbeddedStore(data) as store, Notes(data) as notes:
        measured = Measured(
            store,
            sampling=Sampling(share=0.0),
            effort=Effort(queries=0),
            keeper=NotesKeeper(notes),
        )
        assert measured.points("faces", SearchParams())
        measured.close()


def test_a_dry_run_keeps_nothing(data):
    run(data, "faces", "--count", "40", "--dry-run")
    with Notes(data) as notes:
        assert not notes.list()


def test_queries_can_be_given(data, tmp_path, clustered):
    np.save(tmp_path / "queries.npy", clustered(30, DIM, seed=1))
    given = ["faces", "--queries", str(tmp_path / "queries.npy"), "--count", "20", "--json"]
    told = json.loads(run(data, *given).stdout)
    assert (told["queries"], told["count"], told["kind"]) == (20, ROWS, "codes")
    assert {"dial", "recall", "typical_s", "tail_s", "setting"} <= set(told["points"][0])


def test_what_cannot_be_measured_is_refused(data, tmp_path, clustered):
    with pytest.raises(CollectionNotFoundError):
        run(data, "nobody")
    np.save(tmp_path / "short.npy", clustered(5, DIM - 1))
    (tmp_path / "text.npy").write_text("no array")
    for file in ("short.npy", "text.npy", "absent.npy"):
        with pytest.raises(SetupError, match=r"expected an array|cannot read"):
            run(data, "faces", "--queries", str(tmp_path / file))
    with EmbeddedStore(data) as store, pytest.raises(InvalidRequestError, match="at least 2"):
        measure(store, "faces", [])


def test_the_recall_of_a_graph_is_not_that_of_finding_its_own_rows(tmp_path, clustered, fill):
    vectors = clustered(4300, DIM, clusters=400)
    tuning = Tuning(tail_rows=200, ef_prefix=20, hnsw_links=4, ef_construction=16)
    with EmbeddedStore(tmp_path, tuning) as store:
        store.create(CollectionSpec("a", SPACE, DIM, index="hnsw", durability="os"))
        fill(store, "a", vectors[:4000])
        assert store.wait_idle()
        rng = random.Random(0)
        rows = drawn(store, store.describe("a"), Effort(200), rng, nullcontext)
        report = measure(store, "a", rows)
        fresh = measure(store, "a", [Query(None, vector) for vector in vectors[4000:]])
    declared = {point.dial: point.recall for point in report.points}
    true = {point.dial: point.recall for point in fresh.points}
    walks = [dial for dial in true if dial.kind == "hnsw" and true[dial].samples >= 200]
    assert walks
    for dial in walks:
        assert declared[dial].value - true[dial].value <= 0.02
    assert min(true[dial].value for dial in walks) < 0.98  # else this would show nothing

"""`kokeshi index doctor`: the queries that it sends, and what it tells where it cannot draw."""

import sys

import numpy as np
import orjson
import pytest

from kokeshi.cli.index_exchange.queries import queries_in
from kokeshi.gateway.client import Client
from kokeshi.service.types import NewItem, Tensor

ITEMS, QUERIES = 60, 40


def drawn(count, seed, shift=0.0):
    """Of unit norm."""
    vectors = np.random.default_rng(seed).standard_normal((count, 4)) + shift
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def name(run, server, request):
    """Vectors around nothing."""
    made = f"d{abs(hash(request.node.nodeid))}"
    space = run("index", "create", made, "--model", "colours", "--json").json["space"]
    items = [NewItem(f"i{n}", Tensor(vector)) for n, vector in enumerate(drawn(ITEMS, 0))]
    with Client(server.grpc) as client:
        client.add_items(made, items, space=space)
    return made


@pytest.fixture
def client(server):
    with Client(server.grpc) as made:
        yield made


@pytest.fixture
def without_matplotlib(monkeypatch):
    for module in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, module, None)


def write(path, vectors):
    """Vectors without ids, as the suffix says."""
    match path.suffix:
        case ".npy":
            np.save(path, vectors)
        case ".npz":
            np.savez(path, vectors=vectors)
        case ".parquet":
            pa = pytest.importorskip("pyarrow")
            from pyarrow import parquet

            parquet.write_table(pa.table({"vector": vectors.tolist()}), path)
        case _:
            lines = [orjson.dumps({"vector": vector.tolist()}) for vector in vectors]
            path.write_bytes(b"\n".join(lines))
    return path


def drift(run, name, *words):
    (result,) = run("index", "doctor", name, "--diagnostic", "drift", *words, "--json").json[
        "results"
    ]
    return result


@pytest.mark.parametrize("file", ["q.npy", "q.npz", "q.parquet", "q.ndjson"])
def test_queries_of_a_file_are_measured_for_drift(run, name, tmp_path, file):
    strange = write(tmp_path / file, drawn(QUERIES, 1, shift=5.0))
    found = drift(run, name, "--queries", strange)
    assert found["figures"]["drifted"] == 1
    assert found["figures"]["queries_read"] == QUERIES
    alike = write(tmp_path / f"alike{strange.suffix}", drawn(QUERIES, 2))
    assert drift(run, name, "--queries", alike)["figures"]["drifted"] == 0


def test_a_folder_of_queries_is_embedded_by_the_collections_model(
    run, name, client, make_picture, tmp_path
):
    folder = tmp_path / "asked" / "today"
    folder.mkdir(parents=True)
    pictures = [make_picture((255, 6 * number, 0)) for number in range(QUERIES)]
    for number, data in enumerate(pictures):
        (folder / f"{number:02}.png").write_bytes(data)
    (folder / "notes.txt").write_text("no picture")
    assert drift(run, name, "--queries", folder.parent)["figures"]["queries_read"] == QUERIES
    found = queries_in(folder.parent, client, name, most=QUERIES)
    answer = client.embed("colours", pictures)
    assert found.space == answer.space
    for query, vector in zip(found.vectors, answer.vectors, strict=True):
        np.testing.assert_array_equal(query.array, vector.values)


def test_of_many_queries_some_are_drawn_from_all_of_the_file(run, name, client, tmp_path):
    vectors = drawn(3000, 3)
    vectors[:, 0] = range(3000)
    found = queries_in(write(tmp_path / "q.npy", vectors), client, name, most=300)
    rows = [int(query.array[0]) for query in found.vectors]
    assert found.of == 3000
    assert len(set(rows)) == 300
    assert rows == sorted(rows)
    assert min(np.histogram(rows, 3, (0, 3000))[0]) > 60
    lines = write(tmp_path / "q.ndjson", vectors)
    words = ["--diagnostic", "drift", "--queries", lines, "--most-queries", 20]
    told = run("index", "doctor", name, *words)
    assert "20 of 3000 queries were drawn at random\n" in told.stderr


def test_a_record_that_is_no_query_is_named_by_its_row(run, name, tmp_path):
    (tmp_path / "q.ndjson").write_text('{"vector": [1, 0, 0, 0]}\n{"colour": "red"}\n')
    told = run("index", "doctor", name, "--queries", "q.ndjson", status=1).error
    assert told == "row 2 of the queries: expected one of the fields 'vector', 'text', 'image'"
    (tmp_path / "q.txt").touch()
    assert "expected .parquet" in run("index", "doctor", name, "--queries", "q.txt", status=1).error
    run("index", "doctor", name, "--queries", "absent.npy", status=2)


def test_queries_of_another_space_or_of_two_are_refused(run, name, make_picture, tmp_path):
    file = write(tmp_path / "q.npy", drawn(QUERIES, 1))
    words = ["--queries", file, "--space", "0123456789abcdef"]
    assert "space" in run("index", "doctor", name, *words, status=1).error
    (tmp_path / "a.png").write_bytes(make_picture("red"))
    both = tmp_path / "both.ndjson"
    both.write_text('{"vector": [1, 0, 0, 0]}\n{"image": "a.png"}\n')
    words = ["--queries", both, "--space", "0123456789abcdef"]
    assert "one space" in run("index", "doctor", name, *words, status=1).error


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_figures_are_told_where_plots_cannot_be_drawn(run, name, without_matplotlib, how):
    told = run(
        "index", "doctor", name, "--diagnostic", "hubness", "--plots", "plots", *how, status=1
    )
    assert "hubness_skewness" in told.stdout
    missing = "kokeshi: error: no plots of hubness: the plot needs matplotlib: pip install"
    assert missing in told.stderr


def test_a_folder_for_plots_that_cannot_be_is_refused_before_anything_is_measured(
    run, name, tmp_path
):
    (tmp_path / "file").write_text("")
    told = run("index", "doctor", name, "--plots", "file/plots", status=1)
    assert "cannot write to file/plots" in told.error
    assert not told.stdout

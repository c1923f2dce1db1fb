"""Bringing items in from files and out to files, through a running server."""

import csv
import json

import numpy as np
import orjson
import pytest

from kokeshi.cli.index_exchange.batches import Portion, batches
from kokeshi.cli.index_exchange.fields import Fields
from kokeshi.cli.index_exchange.filling import Filling
from kokeshi.cli.index_exchange.sources import opened
from kokeshi.cli.index_exchange.spool import Spool
from kokeshi.errors import SetupError, UnavailableError
from kokeshi.gateway.client import Client
from kokeshi.service.types import NewItem, StoredItem, Tensor, Unreadable

ROWS = 700  # three batches of a server that takes 256


@pytest.fixture
def name(run, request):
    """An empty collection of this test's own."""
    made = f"x{abs(hash(request.node.nodeid))}"
    run("index", "create", made, "--model", "colours")
    return made


@pytest.fixture
def vectors():
    """Float32 of all sizes, with a negative zero and the least that is not zero."""
    rng = np.random.default_rng(4)
    found = rng.standard_normal((ROWS, 4)).astype(np.float32)
    found *= (10.0 ** rng.integers(-9, 9, (ROWS, 1))).astype(np.float32)
    found[0] = [-0.0, np.float32(1e-45), 1.0, 0.1]
    return found


@pytest.fixture
def lines(vectors, tmp_path):
    path = tmp_path / "in.ndjson"
    with path.open("wb") as file:
        for number, vector in enumerate(vectors):
            record = {"id": f"i{number}", "vector": vector.tolist(), "metadata": {"n": number}}
            file.write(orjson.dumps(record) + b"\n")
    return path


def stored(run, name, number):
    (item,) = run("index", "get", name, f"i{number}", "--vectors", "--json").json["items"]
    return item


def count(run, name, *words):
    return run("index", "count", name, *words, "--json").json["count"]


def test_an_import_is_told_and_stores_nothing_twice(run, name, lines, tmp_path):
    done = run("index", "import", name, lines)
    assert done.stdout == f"stored {ROWS} of {ROWS} rows in {name}, left 0 as they were\n"
    assert done.stderr.endswith("rows/s\n")
    sequence = run("index", "describe", name, "--json").json["sequence"]
    again = run("index", "import", name, lines, "--json").json
    assert (again["stored"], again["stored_before"], again["failed"]) == (0, ROWS, 0)
    told = f"stored 0 of {ROWS} rows in {name}, left 0 as they were, {ROWS} were stored before\n"
    assert run("index", "import", name, lines).stdout == told
    assert run("index", "describe", name, "--json").json["sequence"] == sequence
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.ndjson"]


@pytest.mark.parametrize("target", ["a.parquet", "a.npy", "a.npz", "a.ndjson"])
def test_what_is_written_comes_back_to_the_last_bit(
    run, name, server, lines, vectors, tmp_path, target
):
    run("index", "import", name, lines)
    run("index", "export", name, target)
    other = f"{name}o"
    run("index", "create", other, "--model", "colours")
    assert run("index", "import", other, target, "--json").json["stored"] == ROWS
    with Client(server.grpc) as client:
        page = client.list_items(other, page_size=1000, with_vectors=True)
    assert [item.id for item in page.items] == [f"i{n}" for n in range(ROWS)]
    assert [item.metadata for item in page.items] == [{"n": n} for n in range(ROWS)]
    assert np.stack([item.vector for item in page.items]).tobytes() == vectors.tobytes()
    assert not list(tmp_path.glob("*.partial")) + list(tmp_path.glob("*.new"))


def test_an_export_is_of_what_fits_and_of_one_tenant(run, name, lines):
    run("index", "import", name, lines, "--tenant", "acme")
    assert count(run, name) == 0
    assert count(run, name, "--tenant", "acme", "--filter", "n < 10") == 10
    how = ["--tenant", "acme", "--filter", "n < 10"]
    told = run("index", "export", name, "some.ndjson", *how, "--json").json
    assert told["rows"] == 10
    with open("some.ndjson", "rb") as file:
        assert [orjson.loads(line)["metadata"]["n"] for line in file] == list(range(10))
    assert run("index", "export", name, "none.ndjson", "--json").json["rows"] == 0


def test_an_export_never_replaces_a_file_unasked(run, name, lines, tmp_path):
    (tmp_path / "a.jsonl").write_text("mine")
    assert "--replace" in run("index", "export", name, "a.npy", status=1).error
    assert (tmp_path / "a.jsonl").read_text() == "mine"
    run("index", "export", name, "a.npy", "--replace")
    assert np.load("a.npy").shape == (0, 4)
    assert "expected .parquet" in run("index", "export", name, "a.csv", status=1).error


def test_bad_records_are_told_apart_and_the_others_are_stored(run, name, tmp_path):
    (tmp_path / "in.ndjson").write_text(
        '{"id": "a", "vector": [1, 0, 0, 0], "colour": "red"}\n'
        "no json\n"
        "\n"
        '{"id": "b", "vector": [1, 0]}\n'
        '{"id": "c", "vector": ["x"]}\n'
        '{"vector": [0, 1, 0, 0]}\n'
        '{"id": 7, "vector": [0, 1, 0, 0]}\n'
        '{"id": "a", "vector": [0, 1, 0, 0]}\n'
        '{"id": "d"}\n'
    )
    failed = run("index", "import", name, "in.ndjson", status=1)
    assert failed.stdout == f"stored 2 of 8 rows in {name}, left 0 as they were\n"
    told = (
        f"kokeshi: error: 6 of 8 rows were refused: see import-{name}.errors.jsonl, "
        "which begins with: row 2: expected a JSON object with an id\n"
    )
    assert failed.stderr.endswith(told)
    with open(f"import-{name}.errors.jsonl") as file:
        refused = [json.loads(line) for line in file]
    assert sorted((each["row"], each["id"]) for each in refused) == [
        (2, ""),
        (3, "b"),
        (4, "c"),
        (5, ""),
        (7, "a"),
        (8, "d"),
    ]
    assert {each["code"] for each in refused if each["id"] == "a"} == {"ALREADY_EXISTS"}
    (item,) = run("index", "get", name, "a", "--json").json["items"]
    assert item["metadata"] == {"colour": "red"}


def test_what_an_earlier_import_was_refused_is_kept(run, name, tmp_path):
    def refused(number):
        path = tmp_path / f"import-{name}.errors{number}.jsonl"
        return [json.loads(line)["id"] for line in path.read_text().splitlines()]

    for file in ("one", "two"):
        line = f'{{"id": "{file}", "vector": [1, 0]}}\n'
        (tmp_path / f"{file}.ndjson").write_text(line + '{"id": "good", "vector": [1, 0, 0, 0]}\n')
    how = ["--on-conflict", "replace"]
    run("index", "import", name, "one.ndjson", *how, status=1)
    run("index", "import", name, "one.ndjson", *how, status=1)
    assert len(list(tmp_path.glob("*.errors*"))) == 1  # the same again
    told = run("index", "import", name, "two.ndjson", *how, status=1)
    assert (refused(""), refused(".1")) == (["two"], ["one"])
    assert f"import-{name}.errors.1.jsonl has what an earlier import was refused" in told.stderr
    (tmp_path / "two.ndjson").write_text('{"id": "good", "vector": [0, 1, 0, 0]}\n')
    run("index", "import", name, "two.ndjson", *how)
    assert (refused(".1"), refused(".2")) == (["one"], ["two"])
    assert not (tmp_path / f"import-{name}.errors.jsonl").exists()


def test_an_id_that_exists_is_replaced_or_left(run, name, lines):
    run("index", "import", name, lines)
    changed = lines.with_name("changed.jsonl")
    changed.write_bytes(lines.read_bytes().replace(b'"n":', b'"m":'))
    left = run("index", "import", name, changed, "--on-conflict", "skip", "--json").json
    assert (left["stored"], left["skipped"], left["failed"]) == (0, ROWS, 0)
    assert stored(run, name, 3)["metadata"] == {"n": 3}
    replaced = run("index", "import", name, changed, "--on-conflict", "replace", "--json").json
    assert replaced["stored"] == ROWS
    assert stored(run, name, 3)["metadata"] == {"m": 3}


def test_an_interrupted_import_goes_on_where_it_stopped(run, name, lines, server, tmp_path):
    source = opened(lines)
    state, errors = tmp_path / "state.json", tmp_path / "errors.jsonl"

    class StoppedError(Exception):
        pass

    def stop(state):
        if state.next >= 256:
            raise StoppedError

    with Client(server.grpc) as client:
        with pytest.raises(StoppedError):
            Filling(client, name, source, state, errors, on_progress=stop).run()
        kept = orjson.loads(state.read_bytes())
        assert kept["next"] == 256
        again = Filling(client, name, source, state, errors)
        assert again.run().stored == ROWS  # also what was on its way when it was interrupted
        assert again.began == 256
        assert client.count_items(name) == ROWS
        assert not state.exists()
        state.write_bytes(orjson.dumps({**kept, "stream": "another"}))
        with pytest.raises(SetupError, match="another import"):
            Filling(client, name, source, state, errors).run()


def test_an_import_outlives_a_server_that_is_away_for_a_moment(
    run, name, lines, server, tmp_path, monkeypatch
):
    class Failing:
        """Records that fail once, as a lost connection does: in the midst of a stream."""

        total, space, times = None, "", 0

        def records(self, start):
            source = opened(lines).records(start)
            for number, record in enumerate(source, start):
                if number == 300 and not self.times:
                    self.times = 1
                    raise UnavailableError("gone")
                yield record

        def content(self):
            return "failing"

    monkeypatch.setattr("kokeshi.cli.index_exchange.filling.WAIT_S", 0.01)
    with Client(server.grpc) as client:
        state = Filling(client, name, Failing(), tmp_path / "s.json", tmp_path / "e.jsonl").run()
        assert (state.stored, client.count_items(name)) == (ROWS, ROWS)


def test_an_interrupted_export_goes_on_where_it_stopped(tmp_path):
    def page(first):
        return [StoredItem(f"i{n}", {"n": n}, n, np.full(2, n, np.float32)) for n in first]

    with Spool(tmp_path / "p", {"of": "a"}, 2) as spool:
        spool.add(page(range(3)), "next")
        spool._vectors.write(b"torn")
        spool._lines.write(b"torn")
    with Spool(tmp_path / "p", {"of": "a"}, 2) as spool:
        assert (spool.progress.rows, spool.progress.cursor) == (3, "next")
        spool.add(page(range(3, 5)), None)
        ((lines, vectors),) = spool.chunks()
    assert [orjson.loads(line)["metadata"]["n"] for line in lines] == list(range(5))
    assert vectors[:, 0].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(SetupError, match="another export"):
        Spool(tmp_path / "p", {"of": "b"}, 2)


def test_a_parquet_file_of_somebody_elses_is_taken_by_the_names_of_its_columns(run, name, tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table(
        {
            "key": [1, 2, 3],
            "emb": pa.array([[1.0, 0, 0, 0], None, [0, 1.0, 0, 0]], pa.list_(pa.float64())),
            "colour": ["red", "green", None],
        }
    )
    parquet.write_table(table, "t.parquet", row_group_size=2)
    assert "--id-field" in run("index", "import", name, "t.parquet", status=1).error
    words = ["--id-field", "key", "--vector-field", "emb", "--json"]
    told = run("index", "import", name, "t.parquet", *words, status=1)
    assert json.loads(told.stdout)["stored"] == 2
    items = run("index", "get", name, "1", "3", "--vectors", "--json").json["items"]
    assert [item["metadata"] for item in items] == [{"colour": "red"}, {}]
    assert items[1]["vector"] == [0, 1, 0, 0]
    source = opened(tmp_path / "t.parquet", fields=Fields("key", "emb"))
    assert [record.id for record in source.records(1)] == ["2", "3"]
    assert [record.id for record in source.records(2)] == ["3"]
    assert list(source.records(3)) == []


def test_vectors_of_another_space_are_refused(run, name, lines):
    run("index", "import", name, lines)
    run("index", "export", name, "a.parquet")
    other = f"{name}o"
    run("index", "create", other, "--model", "pair")
    assert "space" in run("index", "import", other, "a.parquet", status=1).stderr


def test_a_folder_is_embedded_with_the_metadata_beside_it(run, name, make_picture, tmp_path):
    folder = tmp_path / "photos"
    (folder / "red").mkdir(parents=True)
    for place, colour in (("red/0.png", "red"), ("1.png", "blue")):
        (folder / place).write_bytes(make_picture(colour))
    assert run("index", "import", name, "photos", "--json").json["stored"] == 2
    with (folder / "metadata.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerows([["file_name", "shot"], ["red/0.png", "day"], ["gone.png", "night"]])
        out.writerow(["../name", "outside"])
    how = ["--on-conflict", "replace", "--json"]
    told = run("index", "import", name, "photos", *how, status=1)
    assert json.loads(told.stdout)["stored"] == 1
    (item,) = run("index", "get", name, "red/0.png", "--json").json["items"]
    assert item["metadata"] == {"file_name": "red/0.png", "shot": "day"}
    best = run("search", name, "photos/1.png", "-k", 1, "--json").json["results"][0]["hits"]
    assert best[0]["id"] == "1.png"


def test_arrays_that_do_not_fit_are_refused_before_anything_is_sent(run, name, tmp_path):
    np.save("flat.npy", np.zeros(3, np.float32))
    assert "(rows, dim)" in run("index", "import", name, "flat.npy", status=1).error
    np.save("two.npy", np.eye(4, dtype=np.float32)[:2])
    (tmp_path / "two.jsonl").write_text('{"id": "a"}\n')
    assert "2 rows" in run("index", "import", name, "two.npy", status=1).error
    np.savez("a.npz", other=np.zeros(3))
    assert "'vectors'" in run("index", "import", name, "a.npz", status=1).error
    (tmp_path / "two.jsonl").unlink()
    assert run("index", "import", name, "two.npy", "--json").json["stored"] == 2
    assert run("index", "get", name, "0", "1", "--json").json["items"][1]["id"] == "1"
    (tmp_path / "x.txt").touch()
    assert "expected .parquet" in run("index", "import", name, "x.txt", status=1).error


def test_a_file_that_is_damaged_further_on_is_told_in_one_line(run, name, vectors, tmp_path):
    np.save("torn.npy", vectors)
    with open("torn.npy", "r+b") as file:
        file.truncate(128 + 600 * 16)
    assert "ends too early" in run("index", "import", name, "torn.npy", status=1).error
    np.savez("flipped.npz", vectors=vectors)
    data = bytearray((tmp_path / "flipped.npz").read_bytes())
    data[5000] ^= 1
    (tmp_path / "flipped.npz").write_bytes(data)
    told = run("index", "import", name, "flipped.npz", "--state", "s", status=1).error
    assert told.startswith("the source cannot be read: Bad CRC-32")


def test_an_export_to_where_nothing_can_be_written_is_told_in_one_line(run, name, tmp_path):
    (tmp_path / "file").touch()
    told = run("index", "export", name, "file/a.npy", status=1).error
    assert told.startswith("cannot write file/a.npy: ")


def test_batches_end_at_the_same_places_wherever_a_run_begins():
    records = [NewItem(str(n % 5), Tensor(np.zeros(4, np.float32))) for n in range(20)]
    records[7] = Unreadable("", "INVALID_ARGUMENT", "bad")
    records[9] = NewItem("big", Tensor(np.zeros(1000, np.float32)))
    most = Portion(4, 1000)
    whole = list(batches(iter(records), 0, most))
    for batch in whole:
        again = list(batches(iter(records[batch.offset :]), batch.offset, most))
        assert [(one.offset, one.end, one.numbers) for one in again] == [
            (one.offset, one.end, one.numbers) for one in whole[whole.index(batch) :]
        ]
    assert [number for batch in whole for number, _ in batch.bad] == [7, 9]
    assert all(len({item.id for item in batch.items}) == len(batch.items) for batch in whole)
    assert [batch.end for batch in whole[:-1]] == [batch.offset for batch in whole[1:]]

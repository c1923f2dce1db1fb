"""`kokeshi doctor`: what it finds, and what it makes of it."""

import shutil
import socket

import apsw
import numpy as np
import pytest

from kokeshi.cli.findings import Finding, of_versions
from kokeshi.index import CollectionSpec, EmbeddedStore, Item
from kokeshi.index.schema import DATABASE, PAGE_BYTES

FREE = ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
HEALTHY = {
    "onnxruntime": "1.31.1",
    "faiss-cpu": "1.15.1",
    "protobuf": "6.33.6",
    "tritonclient": "2.73.0",
    "torch": "2.8",
    "onnx": "1.17",
    "timm": "1.0",
}


@pytest.fixture
def repository(tiny_repository, tmp_path):
    """A repository that a test may damage."""
    return shutil.copytree(tiny_repository, tmp_path / "models")


def doctor(offline, *flags, status=0):
    answer = offline("doctor", "--json", "--data", "data", *FREE, *flags, status=status).json
    assert answer["ok"] is (status == 0)
    return {finding["subject"]: finding for finding in answer["findings"]}


def test_a_sound_machine_has_no_problem(offline, repository):
    found = doctor(offline, "--repository", repository)
    assert {finding["verdict"] for finding in found.values()} <= {"ok", "note"}
    assert found["CPUExecutionProvider"]["told"] == "loads"
    assert found["model colours"]["told"] == "version 1 loads; classification, embedding"
    assert "no problem" not in offline("doctor", "--repository", repository, *FREE).stdout


def test_a_graph_that_was_changed_is_a_problem(offline, repository):
    graph = repository / "colours" / "1" / "model.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    found = doctor(offline, "--repository", repository, status=1)
    assert found["model colours"]["verdict"] == "problem"
    assert found["model colours"]["told"] == "model.onnx is not the graph that the card describes"
    assert found["model tags"]["verdict"] == "ok"


def test_untrained_weights_are_worth_a_note(offline, repository):
    config = repository / "tags" / "config.pbtxt"
    config.write_text(config.read_text().replace('source\\":\\"by hand', 'source\\":\\"untrained'))
    assert doctor(offline, "--repository", repository)["model tags"]["verdict"] == "note"
    allowed = doctor(offline, "--repository", repository, "--allow-untrained")
    assert allowed["model tags"]["verdict"] == "ok"


def test_a_repository_that_is_absent_is_a_problem(offline):
    found = doctor(offline, "--repository", "absent", status=1)
    assert found["repository"]["told"] == "model repository 'absent' is not a folder"
    assert "--repository" in found["repository"]["remedy"]


def test_it_says_how_tensors_reach_the_models(offline, repository):
    found = doctor(offline, "--repository", repository)
    assert found["engine embedded"]["told"] == "tensors reach the models by: in process"


def test_a_triton_that_does_not_answer_is_a_problem(offline, repository):
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        address = "127.0.0.1:{1}".format(*reserved.getsockname())
    found = doctor(offline, "--engine", f"triton://{address}", status=1)
    assert found[address]["verdict"] == "problem"
    assert "does not answer" in found[address]["told"]


def test_a_data_folder_that_cannot_be_written_is_a_problem(offline, repository, tmp_path):
    (tmp_path / "file").write_text("")
    flags = ["--repository", repository, "--data", "file"]
    assert doctor(offline, *flags, status=1)["data"]["verdict"] == "problem"


@pytest.fixture
def stored(tmp_path):
    """A data folder of one collection, closed."""
    with EmbeddedStore(tmp_path / "data") as store:
        store.create(CollectionSpec("faces", "0123456789abcdef", 64, durability="os"))
        rng = np.random.default_rng(0)
        items = [Item(f"{n}", rng.standard_normal(64).astype(np.float32)) for n in range(300)]
        store.upsert("faces", items, space="0123456789abcdef")
    return tmp_path / "data"


def test_a_sound_database_is_read(offline, repository, stored):
    found = doctor(offline, "--repository", repository)["database"]
    assert (found["verdict"], found["told"]) == ("ok", "300 items of 1 collections are whole")


def test_a_malformed_database_is_a_problem(offline, repository, stored):
    path = stored / DATABASE
    whole = bytearray(path.read_bytes())
    torn = whole[: 2 * PAGE_BYTES] + bytes(b ^ 255 for b in whole[2 * PAGE_BYTES :])
    for damaged in (torn, b"no database at all" * 1000):
        path.write_bytes(damaged)
        found = doctor(offline, "--repository", repository, status=1)["database"]
        assert found["verdict"] == "problem"
        assert "kokeshi index restore" in found["remedy"]
    assert path.read_bytes() == damaged


def test_an_older_or_a_large_database_is_worth_a_note(offline, repository, stored, monkeypatch):
    monkeypatch.setattr("kokeshi.index.schema.CHECK_BYTES", 2**20 // 64)
    found = doctor(offline, "--repository", repository)["database"]
    assert (found["verdict"], found["remedy"]) == ("note", "kokeshi index verify")
    with apsw.Connection(str(stored / DATABASE)) as connection:
        connection.execute("UPDATE schema_version SET version = 1")
    connection.close()
    assert "it has format 1" in doctor(offline, "--repository", repository)["database"]["told"]


def test_another_stores_folder_is_not_read(offline, repository, stored):
    (stored / DATABASE).write_bytes(b"damaged" * 1000)
    flags = ["--repository", repository, "--store", "qdrant://127.0.0.1:6334"]
    assert "database" not in doctor(offline, *flags)


def test_a_port_that_another_program_has_is_a_problem(offline, repository):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        found = doctor(offline, "--repository", repository, "--http", address, status=1)
    assert found["http"]["verdict"] == "problem"
    assert address in found["http"]["told"]
    assert found["grpc"]["verdict"] == "ok"


def test_a_server_of_ours_may_have_the_ports(offline, repository, server):
    flags = ["--repository", repository, "--http", server.http, "--grpc", server.grpc]
    assert "answers at" in doctor(offline, *flags)["grpc"]["told"]


def verdicts(**versions: str):
    changed = HEALTHY | {name.replace("_", "-"): number for name, number in versions.items()}
    found = of_versions({name: number for name, number in changed.items() if number})
    return {finding.subject: finding for finding in found}


def test_distributions_that_overwrite_each_other_are_problems():
    assert {finding.verdict for finding in verdicts().values()} == {"ok"}
    both = verdicts(onnxruntime_gpu="1.31.1", faiss_gpu="1.15.1")
    assert both["onnxruntime"] == Finding(
        "problem",
        "onnxruntime",
        "onnxruntime 1.31.1, onnxruntime-gpu 1.31.1 overwrite each other",
        "pip uninstall onnxruntime onnxruntime-gpu; pip install 'kokeshi[cpu]' or 'kokeshi[gpu]'",
    )
    assert both["faiss"].verdict == "problem"


def test_what_is_absent_is_named_with_its_extra():
    bare = verdicts(onnxruntime="", faiss_cpu="", torch="")
    assert bare["onnxruntime"].verdict == bare["faiss"].verdict == "problem"
    assert "kokeshi[cpu]" in bare["faiss"].remedy
    assert bare["export"].verdict == "note"
    assert "kokeshi[export,cpu]" in bare["export"].remedy


def test_a_protobuf_that_tritonclient_does_not_take_is_a_problem():
    assert verdicts(protobuf="7.35.1")["protobuf"].verdict == "problem"
    assert "protobuf" not in verdicts(protobuf="7.35.1", tritonclient="")

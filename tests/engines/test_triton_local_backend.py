"""Kokeshi's backend inside Triton: answers, configurations, errors."""

import asyncio
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from tritonclient import grpc as triton

from kokeshi.engines.protocol import Wanted
from kokeshi.engines.triton.local import LocalTriton
from kokeshi.engines.triton.supervisor import Source
from kokeshi.errors import UnavailableError


def tensor(name, kind, *shape):
    return helper.make_tensor_value_info(name, kind, shape)


def write_graph(folder: Path, nodes, inputs, outputs, config=None, file="model.onnx"):
    graph = helper.make_graph(nodes, folder.name, inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    (folder / "1").mkdir(parents=True)
    (folder / "1" / file).write_bytes(model.SerializeToString())
    if config is not None:
        (folder / "config.pbtxt").write_text(f'backend: "onnxruntime"\n{config}')


FLOAT = TensorProto.FLOAT
IO = """
max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: [-1] }
output { name: "sum" data_type: TYPE_FP32 dims: [-1] }
output { name: "negative" data_type: TYPE_FP32 dims: [-1] }
"""


def two_outputs(folder, config, file="model.onnx"):
    nodes = [
        helper.make_node("Add", ["x", "x"], ["sum"]),
        helper.make_node("Neg", ["x"], ["negative"]),
    ]
    inputs = [tensor("x", FLOAT, "N", "M")]
    outputs = [tensor("sum", FLOAT, "N", "M"), tensor("negative", FLOAT, "N", "M")]
    write_graph(folder, nodes, inputs, outputs, config, file)


def picky(folder):
    """Gather: fails for indices out of range."""
    node = helper.make_node("GatherElements", ["x", "indices"], ["picked"], axis=1)
    inputs = [tensor("x", FLOAT, "N", 4), tensor("indices", TensorProto.INT64, "N", 4)]
    config = """
    max_batch_size: 8
    dynamic_batching { max_queue_delay_microseconds: 200000 preferred_batch_size: [3] }
    instance_group { kind: KIND_CPU count: 1 }
    input { name: "x" data_type: TYPE_FP32 dims: [4] }
    input { name: "indices" data_type: TYPE_INT64 dims: [4] }
    output { name: "picked" data_type: TYPE_FP32 dims: [4] }
    """
    write_graph(folder, [node], inputs, [tensor("picked", FLOAT, "N", 4)], config)


def words(folder):
    node = helper.make_node("StringConcat", ["a", "b"], ["both"])
    inputs = [tensor(name, TensorProto.STRING, "N", 1) for name in "ab"]
    write_graph(folder, [node], inputs, [tensor("both", TensorProto.STRING, "N", 1)])


def accelerated(name):
    return f"""{IO}
    optimization {{ execution_accelerators {{ cpu_execution_accelerator {{ name: "{name}" }} }} }}
    """


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    group = "instance_group { kind: KIND_CPU count: 3 }"
    threads = 'parameters { key: "intra_op_thread_count" value { string_value: "1" } }'
    two_outputs(folder / "configured", f"{IO} dynamic_batching {{}} {group} {threads}")
    two_outputs(folder / "bare", None)
    named = (
        f'default_model_filename: "other.onnx" {IO} instance_group {{ kind: KIND_CPU count: 1 }}'
    )
    two_outputs(folder / "named", named, "other.onnx")
    two_outputs(folder / "outside", f'default_model_filename: "../../named/1/other.onnx" {IO}')
    two_outputs(folder / "unknown", accelerated("abacus"))
    two_outputs(folder / "absent", accelerated("openvino"))
    two_outputs(
        folder / "wrong", IO.replace('"sum" data_type: TYPE_FP32', '"sum" data_type: TYPE_INT8')
    )
    two_outputs(folder / "threads", IO + threads.replace('"1"', '"many"'))
    picky(folder / "picky")
    words(folder / "words")
    return folder


@pytest.fixture(scope="module")
def local(tritonserver, repository):
    wanted = Wanted(mode="explicit", models=("configured", "bare", "named", "picky", "words"))
    made = LocalTriton(tritonserver, repository, wanted=wanted, threads=1)
    try:
        asyncio.run(made.start())
        yield made
    finally:
        asyncio.run(made.close())


@pytest.fixture(scope="module")
def client(local):
    with triton.InferenceServerClient(local.address) as made:
        yield made


def as_input(name, array):
    kinds = {"float32": "FP32", "int64": "INT64", "object": "BYTES"}
    made = triton.InferInput(name, array.shape, kinds[array.dtype.name])
    made.set_data_from_numpy(array)
    return made


@pytest.mark.parametrize("model", ["configured", "bare", "named"])
@pytest.mark.parametrize("shape", [(1, 3), (4, 3), (2, 50_000)])
def test_answers_are_those_of_onnx_runtime(client, repository, model, shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)

    answer = client.infer(model, [as_input("x", x)])

    session = onnxruntime.InferenceSession(repository / "configured" / "1" / "model.onnx")
    for name, expected in zip(("sum", "negative"), session.run(None, {"x": x}), strict=True):
        np.testing.assert_array_equal(answer.as_numpy(name), expected)


def test_only_the_outputs_asked_for_come_back(client):
    x = np.ones((1, 2), np.float32)

    answer = client.infer(
        "configured", [as_input("x", x)], outputs=[triton.InferRequestedOutput("negative")]
    )

    assert [output.name for output in answer.get_response().outputs] == ["negative"]


def test_strings_go_in_and_out(client):
    a, b = (np.array([[text]], dtype=object) for text in ("grü".encode(), b"n"))

    answer = client.infer("words", [as_input("a", a), as_input("b", b)])

    assert answer.as_numpy("both").tolist() == [["grün".encode()]]


def test_a_folder_without_a_configuration_is_completed_from_its_graph(client):
    config = client.get_model_config("bare").config

    assert config.max_batch_size == 4
    assert config.HasField("dynamic_batching")
    assert [(one.name, list(one.dims)) for one in config.input] == [("x", [-1])]
    assert [one.name for one in config.output] == ["sum", "negative"]


def test_an_instance_group_says_how_many_processes_run_the_model(local, repository):
    graph = str(repository / "configured" / "1" / "model.onnx").encode()
    commands = [_command(pid) for pid in os.listdir("/proc") if pid.isdecimal()]

    assert len([one for one in commands if one[1:2] == [graph]]) == 3


def _command(pid):
    try:
        return Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def ask_at_once(client, model, requests):
    """Answers or exceptions, in the order of the requests."""
    with ThreadPoolExecutor(len(requests)) as pool:
        futures = [pool.submit(client.infer, model, inputs) for inputs in requests]
    return [future.exception() or future.result() for future in futures]


def pick(indices):
    x = np.arange(4, dtype=np.float32)[None]
    return [as_input("x", x), as_input("indices", np.array([indices]))]


def test_requests_that_wait_are_run_as_one_batch(client):
    before = client.get_inference_statistics("picky").model_stats[0]

    answers = ask_at_once(client, "picky", [pick([one] * 4) for one in (1, 2, 3)])

    until_s = time.monotonic() + 5  # Triton answers first, and counts then
    after = before
    while after.inference_count < before.inference_count + 3 and time.monotonic() < until_s:
        after = client.get_inference_statistics("picky").model_stats[0]
    picked = [answer.as_numpy("picked")[0, 0] for answer in answers]
    assert picked == [1, 2, 3]
    assert after.inference_count - before.inference_count == 3
    assert after.execution_count - before.execution_count == 1


def test_a_request_that_breaks_its_batch_fails_alone(client):
    good, bad = pick([3, 2, 1, 0]), pick([0, 1, 2, 99])

    first, failed, last = ask_at_once(client, "picky", [good, bad, good])

    assert first.as_numpy("picked").tolist() == last.as_numpy("picked").tolist() == [[3, 2, 1, 0]]
    assert re.search("onnx runtime: .*GatherElements", failed.message())


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("outside", "'../../named/1/other.onnx' is not a name in the version folder"),
        ("unknown", "unknown execution accelerator 'abacus', expected one of"),
        ("absent", "'openvino' is not in this build of ONNX Runtime"),
        ("wrong", "output 'sum' is TYPE_FP32 in the graph, TYPE_INT8 in the configuration"),
        ("threads", "parameter 'intra_op_thread_count' must be a whole number, not 'many'"),
    ],
)
def test_a_configuration_that_cannot_be_served_says_why(local, model, told):
    with pytest.raises(UnavailableError) as raised:
        local._supervisor.load(model, Source())

    assert told in str(raised.value)


def test_a_model_that_cannot_be_loaded_keeps_no_other_from_it(client):
    assert not client.is_model_ready("unknown")
    assert client.is_model_ready("configured")


def test_the_server_listens_to_this_machine_alone(local):
    host, port = local.address.split(":")

    lines = [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]
    addresses = [one[1] for one in lines if one[1].endswith(f":{int(port):04X}") and one[3] == "0A"]
    assert host == "127.0.0.1"
    assert addresses == [f"0000000000000000FFFF00000100007F:{int(port):04X}"]

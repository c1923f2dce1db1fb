"""The embedded engine on models without a card: by configuration alone, as Triton serves them."""

import asyncio
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from onnx import TensorProto, helper
from tritonclient.grpc import model_config_pb2

from kokeshi.engines.embedded import EmbeddedEngine
from kokeshi.engines.protocol import Request, State
from kokeshi.errors import InvalidRequestError, WrongTaskError


def graph_of(nodes, inputs, outputs) -> bytes:
    """A graph; tensors are (name, type, shape)."""
    tensors = [
        [helper.make_tensor_value_info(*tensor) for tensor in group] for group in (inputs, outputs)
    ]
    graph = helper.make_graph([helper.make_node(*node) for node in nodes], "hand", *tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def identity(kind, *shape) -> bytes:
    return graph_of([("Identity", ["x"], ["y"])], [("x", kind, shape)], [("y", kind, shape)])


def place(repository: Path, name: str, graph: bytes, config: str | None, version=1) -> Path:
    folder = repository / name
    (folder / str(version)).mkdir(parents=True, exist_ok=True)
    (folder / str(version) / "model.onnx").write_bytes(graph)
    if config is not None:
        (folder / "config.pbtxt").write_text(config)
    return folder


@pytest.fixture
async def serve(tmp_path):
    """Starts an engine on the models placed under `tmp_path`."""
    engines = []

    async def started(**options) -> EmbeddedEngine:
        engine = EmbeddedEngine(tmp_path, threads=1, **options)
        engines.append(engine)
        await engine.start()
        return engine

    yield started
    for engine in engines:
        await engine.close()


def only_status(engine):
    (status,) = engine.models()
    return status


def config_text(kind: str, dims: str, more="") -> str:
    return (
        f'max_batch_size: 4 input {{ name: "x" data_type: {kind} dims: {dims} }}'
        f' output {{ name: "y" data_type: {kind} dims: {dims} }} {more}'
    )


async def test_a_model_without_a_card_answers_tensors_alone(serve, tmp_path):
    graph = identity(TensorProto.FLOAT, "N", 3)
    place(tmp_path, "plain", graph, config_text("TYPE_FP32", "[3]"))
    engine = await serve()
    assert (only_status(engine).state, only_status(engine).card) == (State.READY, None)
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    answer = await engine.infer(Request("plain", {"x": rows}))
    np.testing.assert_array_equal(answer["y"], rows)
    with pytest.raises(WrongTaskError, match="'plain' has no card: it answers tensors"):
        engine.card("plain")


BFLOAT_ONES = np.full((2, 3), 0x3F80, np.uint16)


@pytest.mark.parametrize(
    ("kind", "onnx_kind", "rows"),
    [
        ("TYPE_BOOL", TensorProto.BOOL, np.array([[True, False, True]] * 2)),
        ("TYPE_UINT8", TensorProto.UINT8, np.full((2, 3), 255, np.uint8)),
        ("TYPE_UINT16", TensorProto.UINT16, np.full((2, 3), 65535, np.uint16)),
        ("TYPE_UINT32", TensorProto.UINT32, np.full((2, 3), 2**32 - 1, np.uint32)),
        ("TYPE_UINT64", TensorProto.UINT64, np.full((2, 3), 2**64 - 1, np.uint64)),
        ("TYPE_INT8", TensorProto.INT8, np.full((2, 3), -128, np.int8)),
        ("TYPE_INT16", TensorProto.INT16, np.full((2, 3), -5, np.int16)),
        ("TYPE_INT32", TensorProto.INT32, np.full((2, 3), -5, np.int32)),
        ("TYPE_INT64", TensorProto.INT64, np.full((2, 3), -5, np.int64)),
        ("TYPE_FP16", TensorProto.FLOAT16, np.full((2, 3), 0.5, np.float16)),
        ("TYPE_FP64", TensorProto.DOUBLE, np.full((2, 3), 0.1, np.float64)),
        ("TYPE_BF16", TensorProto.BFLOAT16, BFLOAT_ONES),
        ("TYPE_STRING", TensorProto.STRING, np.array([[b"a", b"", "ü".encode()]] * 2, object)),
    ],
)
async def test_every_type_of_tritons_goes_in_and_comes_out(serve, tmp_path, kind, onnx_kind, rows):
    place(tmp_path, "typed", identity(onnx_kind, "N", 3), config_text(kind, "[3]"))
    engine = await serve()
    assert only_status(engine).reason == ""
    answer = (await engine.infer(Request("typed", {"x": rows})))["y"]
    assert answer.dtype == rows.dtype
    np.testing.assert_array_equal(answer, rows)


ADD = graph_of(
    [("Add", ["a", "b"], ["sum"]), ("Sub", ["a", "b"], ["difference"])],
    [("a", TensorProto.FLOAT, ("N", "M")), ("b", TensorProto.FLOAT, ("N", "M"))],
    [("sum", TensorProto.FLOAT, ("N", "M")), ("difference", TensorProto.FLOAT, ("N", "M"))],
)
ADD_CONFIG = """
max_batch_size: 4
input [{ name: "a" data_type: TYPE_FP32 dims: [-1] }, { name: "b" data_type: TYPE_FP32 dims: [-1] }]
output [{ name: "sum" data_type: TYPE_FP32 dims: [-1] }]
"""


def ones(*shape):
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"a": ones(1, 2)}, "takes the inputs 'a', 'b', not 'a'"),
        ({"a": ones(1, 2), "c": ones(1, 2)}, "takes the inputs 'a', 'b', not 'a', 'c'"),
        ({"a": ones(1, 2), "b": ones(2, 2)}, "equally many rows, not 'a' 1, 'b' 2"),
        ({"a": ones(1, 2), "b": ones(1, 2, 2)}, r"is float32 \(n, -1\), not float32 \(1, 2, 2\)"),
        ({"a": ones(5, 2), "b": ones(5, 2)}, "takes 1 to 4 rows at once, not 5"),
        ({"a": ones(2), "b": ones(2)}, r"is float32 \(n, -1\), not float32 \(2,\)"),
    ],
)
async def test_a_request_that_the_configuration_does_not_allow_is_refused(
    serve, tmp_path, inputs, message
):
    place(tmp_path, "add", ADD, ADD_CONFIG)
    engine = await serve()
    with pytest.raises(InvalidRequestError, match=message):
        await engine.infer(Request("add", inputs))


async def test_only_outputs_of_the_configuration_are_answered(serve, tmp_path):
    place(tmp_path, "add", ADD, ADD_CONFIG)
    engine = await serve()
    inputs = {"a": ones(2, 3), "b": ones(2, 3)}
    answer = await engine.infer(Request("add", inputs))
    assert {name: values.tolist() for name, values in answer.items()} == {"sum": [[2.0] * 3] * 2}
    with pytest.raises(InvalidRequestError, match="has the outputs 'sum', not 'difference'"):
        await engine.infer(Request("add", inputs, outputs=["difference"]))


async def test_without_a_batch_size_the_dims_are_all_there_is(serve, tmp_path):
    config = config_text("TYPE_FP32", "[-1, 2]").replace("max_batch_size: 4", "")
    place(tmp_path, "whole", identity(TensorProto.FLOAT, "N", 2), config)
    engine = await serve()
    assert engine.max_rows("whole") == 1
    answer = await engine.infer(Request("whole", {"x": ones(7, 2)}))
    assert answer["y"].shape == (7, 2)
    with pytest.raises(InvalidRequestError, match=r"is float32 \(-1, 2\), not float32 \(2,\)"):
        await engine.infer(Request("whole", {"x": ones(2)}))


async def test_requests_have_the_shape_of_dims_and_the_graph_that_of_reshape(serve, tmp_path):
    graph = graph_of(
        [("Flatten", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, ("N", 2, "M"))],
        [("y", TensorProto.FLOAT, ("N", "K"))],
    )
    config = """
    max_batch_size: 4
    input { name: "x" data_type: TYPE_FP32 dims: [-1, 1, 2] reshape { shape: [2, -1] } }
    output { name: "y" data_type: TYPE_FP32 dims: [-1, 1] reshape { shape: [-1] } }
    """
    place(tmp_path, "shaped", graph, config)
    engine = await serve()
    rows = np.arange(12, dtype=np.float32).reshape(2, 3, 1, 2)
    answer = await engine.infer(Request("shaped", {"x": rows}))
    np.testing.assert_array_equal(answer["y"], rows.reshape(2, 6, 1))


@pytest.mark.parametrize(
    ("graph", "size", "dims"),
    [
        (identity(TensorProto.FLOAT, "N", 3), 4, [3]),
        (identity(TensorProto.FLOAT, 2, 3), 0, [2, 3]),
    ],
)
async def test_a_graph_alone_is_completed_as_triton_does(serve, tmp_path, graph, size, dims):
    place(tmp_path, "alone", graph, None)
    engine = await serve()
    config = engine.config("alone")
    assert (config.name, config.max_batch_size) == ("alone", size)
    assert (config.dynamic_batching is not None) == (size > 0)
    assert [(one.name, one.data_type, list(one.dims)) for one in config.input + config.output] == [
        ("x", "TYPE_FP32", dims),
        ("y", "TYPE_FP32", dims),
    ]
    assert (await engine.infer(Request("alone", {"x": ones(2, 3)})))["y"].shape == (2, 3)


async def test_a_configuration_without_tensors_keeps_what_it_says(serve, tmp_path):
    config = "max_batch_size: 2 dynamic_batching { max_queue_delay_microseconds: 5 }"
    place(tmp_path, "half", identity(TensorProto.FLOAT, "N", 3), config)
    found = (await serve()).config("half")
    assert found.max_batch_size == 2
    assert found.dynamic_batching.max_queue_delay_microseconds == 5
    assert found.input[0].dims == (3,)


async def test_the_whole_configuration_is_told_with_tritons_defaults(serve, tmp_path):
    more = 'dynamic_batching {} metric_tags { key: "a" value: "b" } instance_group { count: 2 }'
    text = config_text("TYPE_FP32", "[3]", more)
    place(tmp_path, "told", identity(TensorProto.FLOAT, "N", 3), text)
    engine = await serve()
    told = text_format.Parse(engine.pbtxt("told"), model_config_pb2.ModelConfig())
    assert (told.name, told.backend, told.platform) == ("told", "onnxruntime", "onnxruntime_onnx")
    assert told.default_model_filename == "model.onnx"
    assert told.version_policy.latest.num_versions == 1
    assert list(told.dynamic_batching.preferred_batch_size) == [4]
    assert dict(told.metric_tags) == {"a": "b"}
    (group,) = told.instance_group
    assert (group.name, group.count, group.Kind.Name(group.kind)) == ("told_0", 2, "KIND_CPU")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (config_text("TYPE_FP32", "[4]"), r"'x' is TYPE_FP32 [-1, 4] in the configuration"),
        (config_text("TYPE_INT32", "[3]"), "and TYPE_FP32 [-1, 3] in the graph"),
        (config_text("TYPE_FP32", "[3]").replace('"y"', '"z"'), "the graph has no tensor 'z'"),
        (ADD_CONFIG, "leaves out the graph's inputs ['x']"),
        (config_text("TYPE_INVALID", "[3]"), "input.0.data_type: field required"),
    ],
)
async def test_a_configuration_that_the_graph_contradicts_is_refused(
    serve, tmp_path, config, reason
):
    place(tmp_path, "wrong", identity(TensorProto.FLOAT, "N", 3), config)
    engine = await serve()
    assert only_status(engine).state is State.FAILED
    assert reason in only_status(engine).reason


@pytest.mark.parametrize(
    ("warmup", "reason"),
    [
        ("zero_data: true", ""),
        ("random_data: true", ""),
        ('input_data_file: "row"', ""),
        ('input_data_file: "short"', "needs 12 for 'x'; its file has 4 bytes"),
        ('input_data_file: "../1/model.onnx"', "does not name a file of the model's folder"),
        ("", "gives 'x' no data"),
    ],
)
async def test_warm_up_runs_before_a_model_is_ready(serve, tmp_path, warmup, reason):
    more = (
        'model_warmup { name: "w" batch_size: 2 count: 3 inputs { key: "x" value '
        f"{{ data_type: TYPE_FP32 dims: [3] {warmup} }} }} }}"
    )
    graph = identity(TensorProto.FLOAT, "N", 3)
    folder = place(tmp_path, "warm", graph, config_text("TYPE_FP32", "[3]", more))
    (folder / "warmup").mkdir()
    (folder / "warmup" / "row").write_bytes(np.array([1, 2, 3], np.float32).tobytes())
    (folder / "warmup" / "short").write_bytes(b"1234")
    seen = []
    engine = await serve(open_runtime=recording(seen))
    assert reason in only_status(engine).reason
    assert (only_status(engine).state is State.READY) == (reason == "")
    assert [inputs["x"].shape for inputs in seen] == ([] if reason else [(2, 3)] * 3)
    if "row" in warmup:
        assert seen[0]["x"].tolist() == [[1, 2, 3]] * 2


def recording(seen):
    """The real runtimes, whose inputs are noted."""
    from kokeshi.engines.runtimes import open_runtime

    def opened(graph, config, **options):
        runtime = open_runtime(graph, config, **options)
        run = runtime.run

        def noted(inputs):
            seen.append(inputs)
            return run(inputs)

        runtime.run = noted
        return runtime

    return opened


async def test_a_graph_that_fails_its_warm_up_is_not_served(serve, tmp_path):
    graph = graph_of(
        [("Gather", ["table", "x"], ["y"])],
        [("x", TensorProto.INT64, ("N", 1)), ("table", TensorProto.FLOAT, (1,))],
        [("y", TensorProto.FLOAT, ("N", 1))],
    )
    graph = onnx.load_from_string(graph)
    del graph.graph.input[1]
    graph.graph.initializer.append(helper.make_tensor("table", TensorProto.FLOAT, [1], [0.5]))
    config = """
    max_batch_size: 4
    input { name: "x" data_type: TYPE_INT64 dims: [1] }
    output { name: "y" data_type: TYPE_FP32 dims: [1] }
    model_warmup { name: "far" batch_size: 1 inputs { key: "x" value {
      data_type: TYPE_INT64 dims: [1] input_data_file: "far" } } }
    """
    folder = place(tmp_path, "table", graph.SerializeToString(), config)
    (folder / "warmup").mkdir()
    (folder / "warmup" / "far").write_bytes(np.array([9], np.int64).tobytes())
    status = only_status(await serve())
    assert status.state is State.FAILED
    assert "its warm-up 'far' failed" in status.reason


async def test_answers_are_kept_where_the_model_and_the_server_say_so(serve, tmp_path):
    graph, more = identity(TensorProto.FLOAT, "N", 3), "response_cache { enable: true }"
    place(tmp_path, "kept", graph, config_text("TYPE_FP32", "[3]", more))
    place(tmp_path, "plain", graph, config_text("TYPE_FP32", "[3]"))
    seen = []
    engine = await serve(cache_bytes=10_000, open_runtime=recording(seen))
    for name in ("kept", "kept", "plain", "plain"):
        answer = await engine.infer(Request(name, {"x": ones(1, 3)}))
        assert answer["y"].tolist() == [[1, 1, 1]]
    await engine.infer(Request("kept", {"x": 2 * ones(1, 3)}))
    again = await asyncio.to_thread(engine.infer_now, Request("kept", {"x": 2 * ones(1, 3)}))
    assert again["y"].tolist() == [[2, 2, 2]]
    assert len(seen) == 4
    kept, plain = (
        next(one for one in engine.counted() if one.name == name) for name in ("kept", "plain")
    )
    assert (kept.cache_hit.count, kept.cache_miss.count, kept.success.count) == (2, 2, 4)
    assert (plain.cache_hit.count, plain.cache_miss.count, plain.success.count) == (0, 0, 2)
    assert kept.inference_count == 2


async def test_a_server_without_memory_for_answers_keeps_none(serve, tmp_path):
    text = config_text("TYPE_FP32", "[3]", "response_cache { enable: true }")
    place(tmp_path, "kept", identity(TensorProto.FLOAT, "N", 3), text)
    seen = []
    engine = await serve(open_runtime=recording(seen))
    for _ in range(2):
        await engine.infer(Request("kept", {"x": ones(1, 3)}))
    assert len(seen) == 2


async def test_an_accelerator_that_is_not_here_degrades_the_model_and_says_so(serve, tmp_path):
    more = (
        "optimization { execution_accelerators { gpu_execution_accelerator: "
        '[{ name: "tensorrt" }] } }'
    )
    place(
        tmp_path, "fast", identity(TensorProto.FLOAT, "N", 3), config_text("TYPE_FP32", "[3]", more)
    )
    engine = await serve()
    status = only_status(engine)
    assert status.state is State.DEGRADED
    assert status.answers
    assert status.reason
    assert (await engine.infer(Request("fast", {"x": ones(1, 3)})))["y"].shape == (1, 3)

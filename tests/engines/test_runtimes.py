"""Runtimes: what they execute, and the options that a configuration turns into.

No GPU is needed: what runs on one is tested down to the options and keys, and the code that binds
buffers with plain memory in place of pinned.
"""

import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kokeshi.engines.config import (
    Accelerator,
    DynamicBatching,
    ExecutionAccelerators,
    InstanceGroup,
    ModelConfig,
    Optimization,
    Tensor,
)
from kokeshi.engines.runtimes import Value, open_runtime, this_machine
from kokeshi.engines.runtimes.accelerators import plan
from kokeshi.engines.runtimes.bound import BoundRuntime, can_be_bound
from kokeshi.engines.runtimes.building import expected_s, fraction, remember, watched
from kokeshi.engines.runtimes.machine import Gpu, Machine, read_cpu_info
from kokeshi.engines.runtimes.plan import write_plan
from kokeshi.engines.runtimes.session import OnnxRuntime, open_session
from kokeshi.engines.runtimes.spread import SpreadRuntime
from kokeshi.engines.runtimes.tensorrt import cache_key, profiles
from kokeshi.errors import ArtefactError, InvalidRequestError, SetupError, UnavailableError

CPU_PROVIDER = (("CPUExecutionProvider", {}),)
H100 = Gpu("NVIDIA H100", "9.0")
GPU_MACHINE = Machine(
    processor="CPU",
    flags=(),
    gpus=(H100, H100),
    providers=frozenset(
        {"TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"}
    ),
    onnxruntime="1.31.1",
    tensorrt="10.16.0",
)
CPU_MACHINE = Machine(processor="CPU", flags=("avx2",), onnxruntime="1.31.1")


def graph(path: Path, kind: int = TensorProto.FLOAT, op: str = "Identity", axes=("N", 2)) -> Path:
    """y = op(x), written to a file."""
    x, y = (helper.make_tensor_value_info(name, kind, axes) for name in "xy")
    made = helper.make_graph([helper.make_node(op, ["x"], ["y"])], "one", [x], [y])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return path


def config(**fields) -> ModelConfig:
    image = Tensor(name="image", data_type="TYPE_UINT8", dims=(224, 224, 3))
    return ModelConfig(**{"name": "model", "max_batch_size": 32, "input": (image,)} | fields)


def accelerated(*, gpu=(), cpu=(), **fields) -> ModelConfig:
    accelerators = ExecutionAccelerators(
        gpu_execution_accelerator=tuple(Accelerator(name=n, parameters=p) for n, p in gpu),
        cpu_execution_accelerator=tuple(Accelerator(name=n, parameters=p) for n, p in cpu),
    )
    return config(optimization=Optimization(execution_accelerators=accelerators), **fields)


def chosen(model: ModelConfig, machine=GPU_MACHINE, cache_folder=None):
    return plan(model, machine, threads=2, digest=lambda: "d" * 64, cache_folder=cache_folder)


def test_a_graph_says_its_tensors_and_runs(tmp_path):
    runtime = open_runtime(graph(tmp_path / "g.onnx", op="Neg"), ModelConfig(), threads=1)
    assert runtime.inputs == (Value("x", "TYPE_FP32", (-1, 2)),)
    assert runtime.outputs == (Value("y", "TYPE_FP32", (-1, 2)),)
    assert runtime.providers == ("CPUExecutionProvider",)
    assert runtime.degraded == ""
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert (runtime.run({"x": rows})["y"] == -rows).all()


def test_a_closed_runtime_runs_no_more(tmp_path):
    runtime = open_runtime(graph(tmp_path / "g.onnx"), ModelConfig(), threads=1)
    runtime.close()
    with pytest.raises(UnavailableError):
        runtime.run({"x": np.zeros((1, 2), np.float32)})


def test_strings_go_in_and_out_as_bytes(tmp_path):
    runtime = open_runtime(graph(tmp_path / "g.onnx", TensorProto.STRING), ModelConfig(), threads=1)
    words = np.array([[b"red", "grün".encode()]], np.object_)
    assert runtime.run({"x": words})["y"].tolist() == words.tolist()
    with pytest.raises(InvalidRequestError, match="input 'x' holds bytes that are not UTF-8"):
        runtime.run({"x": np.array([[b"\xff", b""]], np.object_)})


def test_bfloat16_goes_in_and_out_as_uint16(tmp_path):
    path = graph(tmp_path / "g.onnx", TensorProto.BFLOAT16)
    runtime = open_runtime(path, ModelConfig(), threads=1)
    assert runtime.inputs[0].data_type == "TYPE_BF16"
    ones = np.full((3, 2), 0x3F80, np.uint16)
    assert (runtime.run({"x": ones})["y"] == ones).all()


def test_a_failing_run_is_not_tried_again_on_another_provider(tmp_path):
    session = open_session(graph(tmp_path / "g.onnx"), CPU_PROVIDER, threads=1)
    assert session._enable_fallback is False


def test_threads_are_those_of_the_configuration_or_the_callers(tmp_path):
    path = graph(tmp_path / "g.onnx")
    said = open_session(path, CPU_PROVIDER, threads=2, parameters={"intra_op_thread_count": "1"})
    assert said.get_session_options().intra_op_num_threads == 1
    unsaid = open_session(path, CPU_PROVIDER, threads=2, parameters={"intra_op_thread_count": "0"})
    assert unsaid.get_session_options().intra_op_num_threads == 2


def plain_memory(size_bytes):
    return np.empty(size_bytes, np.uint8)


def test_bound_buffers_answer_as_arrays_do_and_grow(tmp_path):
    session = open_session(graph(tmp_path / "g.onnx", op="Neg"), CPU_PROVIDER, threads=1)
    assert can_be_bound(session)
    bound, plain = BoundRuntime(session, plain_memory, concurrency=1), OnnxRuntime(session)
    answers = []
    for count in (3, 1, 9):
        rows = np.random.default_rng(count).random((count, 2)).astype(np.float32)
        answers.append((bound.run({"x": rows})["y"], plain.run({"x": rows})["y"]))
    assert all((ours == theirs).all() for ours, theirs in answers)  # none was written over


def test_bound_buffers_are_never_shared_by_two_runs(tmp_path):
    session = open_session(graph(tmp_path / "g.onnx", op="Neg"), CPU_PROVIDER, threads=1)
    bound = BoundRuntime(session, plain_memory, concurrency=2)
    wrong = []

    def ask(number):
        rows = np.full((5, 2), number, np.float32)
        for _ in range(200):
            if (bound.run({"x": rows})["y"] != -rows).any():
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("axes", [("N", "M"), (1, 2), ()])
def test_graphs_without_rows_or_of_unknown_output_shape_are_not_bound(tmp_path, axes):
    path = graph(tmp_path / "g.onnx", axes=axes)
    assert not can_be_bound(open_session(path, CPU_PROVIDER, threads=1))


def test_runs_spread_over_devices(tmp_path):
    session = open_session(graph(tmp_path / "g.onnx"), CPU_PROVIDER, threads=1)
    ran = []

    class Device(OnnxRuntime):
        def __init__(self, name):
            super().__init__(session)
            self.name = name
            self.may_end = threading.Event()

        def run(self, inputs):
            ran.append(self.name)
            self.may_end.wait(5)
            return super().run(inputs)

    devices = [Device("first"), Device("second")]
    spread = SpreadRuntime(devices)
    rows = {"x": np.zeros((1, 2), np.float32)}
    threads = [threading.Thread(target=spread.run, args=(rows,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for device in devices:
        device.may_end.set()
    for thread in threads:
        thread.join()
    devices[0].may_end.set()
    spread.run(rows)
    assert sorted(ran[:2]) in (["first", "second"], ["first", "first"])
    assert ran[2] == "first"


def test_without_accelerators_the_machine_decides():
    assert chosen(config(), CPU_MACHINE).providers == (CPU_PROVIDER,)
    assert [name for name, _ in chosen(config()).providers[0]] == [
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
    on_cpu = config(instance_group=(InstanceGroup(kind="KIND_CPU"),))
    assert chosen(on_cpu).providers == (CPU_PROVIDER,)
    assert not chosen(on_cpu).degraded


def test_cuda_takes_tritons_parameters_old_and_new():
    model = accelerated(
        gpu=[("cuda", {"cudnn_conv_use_max_workspace": "0"})],
        parameters={"gpu_mem_limit": "1000", "cudnn_conv_algo_search": "0"},
        instance_group=(InstanceGroup(kind="KIND_GPU", gpus=(1,)),),
    )
    (providers,) = chosen(model).providers
    assert providers[0] == (
        "CUDAExecutionProvider",
        {
            "device_id": "1",
            "arena_extend_strategy": "kSameAsRequested",
            "cudnn_conv_algo_search": "EXHAUSTIVE",
            "gpu_mem_limit": "1000",
            "cudnn_conv_use_max_workspace": "0",
        },
    )


def test_each_gpu_named_has_a_session():
    group = InstanceGroup(kind="KIND_GPU", gpus=(0, 1))
    devices = [dict(it)["CUDAExecutionProvider"]["device_id"] for it in chosen(
        config(instance_group=(group,))).providers]  # fmt: skip
    assert devices == ["0", "1"]
    with pytest.raises(ArtefactError, match="there is no GPU 2; this machine has 2"):
        chosen(config(instance_group=(InstanceGroup(kind="KIND_GPU", gpus=(2,)),)))


def test_tensorrt_gets_precision_profiles_and_a_cache_of_its_own(tmp_path):
    given = {"precision_mode": "FP16", "max_workspace_size_bytes": "1000"}
    (providers,) = chosen(accelerated(gpu=[("tensorrt", given)]), cache_folder=tmp_path).providers
    assert [name for name, _ in providers] == [
        "TensorrtExecutionProvider",
        "CUDAExecutionProvider",
        "CPUExecutionProvider",
    ]
    options = providers[0][1]
    folder = Path(options.pop("trt_engine_cache_path"))
    assert folder.parent == tmp_path
    assert options == {
        "device_id": "0",
        "trt_max_workspace_size": "1000",
        "trt_fp16_enable": "1",
        "trt_profile_min_shapes": "image:1x224x224x3",
        "trt_profile_opt_shapes": "image:16x224x224x3",
        "trt_profile_max_shapes": "image:32x224x224x3",
        "trt_engine_cache_enable": "1",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(tmp_path / "timing"),
    }
    assert chosen(accelerated(gpu=[("tensorrt", given)])).builds_engine


def test_a_cache_that_was_turned_off_is_not_used(tmp_path):
    model = accelerated(gpu=[("tensorrt", {"trt_engine_cache_enable": "0"})])
    options = chosen(model, cache_folder=tmp_path).providers[0][0][1]
    assert not any("cache" in name for name in options)


@pytest.mark.parametrize(
    ("fields", "rows"),
    [
        ({}, (1, 16, 32)),
        ({"dynamic_batching": DynamicBatching(preferred_batch_size=(4, 8))}, (1, 8, 32)),
        ({"dynamic_batching": DynamicBatching(preferred_batch_size=(64,))}, (1, 32, 32)),
        ({"max_batch_size": 1}, (1, 1, 1)),
    ],
)
def test_profiles_hold_one_row_the_preferred_and_the_most(fields, rows):
    (shape,) = profiles(config(**fields))
    assert (shape.least[0], shape.best[0], shape.most[0]) == rows
    assert shape.most[1:] == (224, 224, 3)


def test_axes_of_any_length_make_no_profile():
    wild = Tensor(name="image", data_type="TYPE_UINT8", dims=(-1, 224, 3))
    with pytest.raises(ArtefactError, match=r"input 'image' has \[-1, 224, 3\]"):
        profiles(config(input=(wild,)))
    named = {f"trt_profile_{kind}_shapes": "image:1x8x224x3" for kind in ("min", "opt", "max")}
    options = chosen(accelerated(gpu=[("tensorrt", named)], input=(wild,))).providers[0][0][1]
    assert options["trt_profile_max_shapes"] == "image:1x8x224x3"


def test_whatever_an_engine_depends_on_changes_its_key():
    options = {"trt_fp16_enable": "1", "trt_profile_max_shapes": "image:32x224x224x3"}
    base = cache_key("a", H100, GPU_MACHINE, options)
    assert base == cache_key("a", H100, GPU_MACHINE, dict(reversed(options.items())))
    assert base == cache_key("a", H100, GPU_MACHINE, options | {"trt_timing_cache_path": "there"})
    newer_tensorrt = Machine("CPU", (), (H100,), onnxruntime="1.31.1", tensorrt="10.17.0")
    newer_runtime = Machine("CPU", (), (H100,), onnxruntime="1.32.0", tensorrt="10.16.0")
    others = {
        cache_key("b", H100, GPU_MACHINE, options),
        cache_key("a", Gpu("NVIDIA L4", "8.9"), GPU_MACHINE, options),
        cache_key("a", Gpu("NVIDIA H100", "8.9"), GPU_MACHINE, options),
        cache_key("a", H100, newer_tensorrt, options),
        cache_key("a", H100, newer_runtime, options),
        cache_key("a", H100, GPU_MACHINE, {"trt_fp16_enable": "1"}),
        cache_key("a", H100, GPU_MACHINE, options | {"trt_fp16_enable": "0"}),
    }
    assert len({base, *others}) == 8


@pytest.mark.parametrize(
    ("machine", "model", "reason"),
    [
        (
            CPU_MACHINE,
            accelerated(gpu=[("tensorrt", {})]),
            "configured for tensorrt; this machine has no GPU that the CUDA driver shows: "
            "runs on ONNX Runtime's CPU provider",
        ),
        (
            CPU_MACHINE,
            config(instance_group=(InstanceGroup(kind="KIND_GPU"),)),
            "configured for a GPU; this machine has no GPU",
        ),
        (
            Machine("CPU", (), (H100,)),
            accelerated(gpu=[("cuda", {})]),
            "configured for cuda; the ONNX Runtime installed here is not built for CUDA",
        ),
        (
            Machine("CPU", (), (H100,), GPU_MACHINE.providers),
            accelerated(gpu=[("tensorrt", {})]),
            "configured for tensorrt, but its libraries do not load: runs on CUDA",
        ),
        (
            CPU_MACHINE,
            accelerated(cpu=[("openvino", {})]),
            "configured for openvino, which is not installed: runs on ONNX Runtime's CPU provider",
        ),
        (
            Machine("CPU", (), openvino="2026.4"),
            accelerated(gpu=[("tensorrt", {})], cpu=[("openvino", {})]),
            "no GPU that the CUDA driver shows: runs on OpenVINO",
        ),
    ],
)
def test_what_the_machine_lacks_is_said_and_left_out(machine, model, reason):
    found = chosen(model, machine)
    assert reason in found.degraded
    assert found.builds_engine is False


def test_a_missing_accelerator_is_said_by_the_runtime(tmp_path):
    if this_machine().gpus:
        pytest.skip("this machine has a GPU")
    model = accelerated(gpu=[("tensorrt", {})], max_batch_size=0, input=())
    runtime = open_runtime(graph(tmp_path / "g.onnx"), model, threads=1)
    assert "configured for tensorrt" in runtime.degraded
    assert runtime.run({"x": np.zeros((1, 2), np.float32)})["y"].shape == (1, 2)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (accelerated(gpu=[("openvino", {})]), "'openvino' is unknown; on a GPU there are"),
        (accelerated(cpu=[("tensorrt", {})]), "'tensorrt' is unknown; on a CPU there are"),
        (accelerated(gpu=[("tensorrt", {"speed": "9"})]), "'tensorrt' has no parameter 'speed'"),
        (accelerated(gpu=[("cuda", {"speed": "9"})]), "'cuda' has no parameter 'speed'"),
        (accelerated(cpu=[("openvino", {"speed": "9"})]), "'openvino' has no parameter 'speed'"),
        (accelerated(gpu=[("tensorrt", {"precision_mode": "FP4"})]), "FP32, FP16, BF16, INT8, not"),
        (accelerated(cpu=[("openvino", {"precision_mode": "FP4"})]), "FP32, BF16, FP16, INT8, not"),
        (config(parameters={"arena_extend_strategy": "2"}), "is one of 0, 1, not '2'"),
    ],
)
@pytest.mark.parametrize("machine", [CPU_MACHINE, GPU_MACHINE])
def test_what_is_unknown_is_refused_on_every_machine(model, message, machine):
    with pytest.raises(ArtefactError, match=message):
        chosen(model, machine)


def test_openvino_is_always_told_the_precision():
    machine = Machine("CPU", (), openvino="2026.4")
    assert chosen(accelerated(cpu=[("openvino", {})]), machine).openvino == {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": "2",
    }
    bf16 = accelerated(cpu=[("openvino", {"precision_mode": "BF16"})])
    assert chosen(bf16, machine).openvino["INFERENCE_PRECISION_HINT"] == "bf16"


def test_openvino_answers_as_onnx_runtime_does(tmp_path):
    pytest.importorskip("openvino")
    path = graph(tmp_path / "g.onnx", op="Neg")
    row = Tensor(name="x", data_type="TYPE_FP32", dims=(2,))
    model = accelerated(cpu=[("openvino", {})], input=(row,), max_batch_size=4)
    done = []
    runtime = open_runtime(path, model, threads=1, progress=done.append)
    assert runtime.inputs == (Value("x", "TYPE_FP32", (-1, 2)),)
    assert runtime.providers == ("OpenVINO CPU f32",)
    assert done == [0.25, 0.5, 0.75, 1.0]
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    first = runtime.run({"x": rows})["y"]
    runtime.run({"x": rows + 1})
    assert (first == -rows).all()  # the caller's own
    runtime.close()
    with pytest.raises(UnavailableError):
        runtime.run({"x": rows})


def test_a_precision_that_the_processor_lacks_is_said(tmp_path):
    openvino = pytest.importorskip("openvino")
    capable = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "FP16" in capable:
        pytest.skip("this processor computes in FP16")
    model = accelerated(cpu=[("openvino", {"precision_mode": "FP16"})], input=())
    runtime = open_runtime(graph(tmp_path / "g.onnx"), model, threads=1)
    assert "configured for f16 on OpenVINO, which computes in" in runtime.degraded


def test_a_plan_without_tensorrt_is_refused_in_words(tmp_path):
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        path = graph(tmp_path / "g.onnx")
        with pytest.raises(SetupError, match="built by TensorRT's Python package"):
            write_plan(path, config(), tmp_path / "model.plan")
    assert not (tmp_path / "model.plan").exists()
    with pytest.raises(SetupError, match="precision is one of FP32, FP16, BF16, INT8, not 'FP4'"):
        write_plan(tmp_path / "g.onnx", config(), tmp_path / "model.plan", precision="FP4")


def test_progress_rises_and_reaches_one_at_the_end():
    told = []
    with watched(told.append, expected_s=0.1, tick_s=0.01):
        threading.Event().wait(0.2)
    assert told == sorted(told)
    assert len(told) > 3
    assert told[-2] < 1.0
    assert told[-1] == 1.0
    assert fraction(15, 30) == 0.5
    assert 0.5 < fraction(30, 30) < fraction(60, 30) < fraction(1e9, 30) < 1


def test_the_time_of_the_last_build_is_expected_of_the_next(tmp_path):
    path = graph(tmp_path / "g.onnx")
    cache_folder = tmp_path / "cache"
    assert expected_s(path, "digest", cache_folder) == pytest.approx(30, abs=1)
    remember(12.34, "digest", cache_folder)
    assert expected_s(path, "digest", cache_folder) == 12.3
    assert expected_s(path, "other", cache_folder) == pytest.approx(30, abs=1)


def test_a_processor_is_known_by_its_name_and_what_matters_of_its_flags():
    said = "processor\t: 0\nmodel name\t: Xeon\nflags\t\t: fpu avx2 amx_bf16 amx_int8\n\n"
    assert read_cpu_info(said) == ("Xeon", ("avx2", "amx_bf16", "amx_int8"))
    arm = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm bf16\n"
    assert read_cpu_info(arm)[1] == ("asimddp", "i8mm", "bf16")
    with_amx = Machine("Xeon", ("avx2", "amx_bf16"))
    assert with_amx.cpu != Machine("Xeon", ("avx2",)).cpu
    assert GPU_MACHINE.gpu == "NVIDIA H100 (compute capability 9.0)"
    assert CPU_MACHINE.gpu == ""

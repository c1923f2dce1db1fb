"""Tuning, part by part: what is measured, how it is compared, and what is written."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from kokeshi.card import Candidate, Fidelity, Speed, Tuning
from kokeshi.contract import ImageInput, Meaning, Output
from kokeshi.engines.config import (
    Accelerator,
    ExecutionAccelerators,
    InstanceGroup,
    ModelConfig,
    Optimization,
    card_from,
    from_pbtxt,
    to_pbtxt,
)
from kokeshi.engines.runtimes.machine import Gpu, Machine
from kokeshi.engines.runtimes.tuned import choose as choose_graph
from kokeshi.engines.runtimes.tuned import untuned_pbtxt
from kokeshi.errors import SetupError
from kokeshi.tune.choosing import choose
from kokeshi.tune.fidelity import BOUNDS, compare, parse_bounds
from kokeshi.tune.graphs import heads, make
from kokeshi.tune.measuring import measure
from kokeshi.tune.pictures import MIN_PICTURES, bundled, from_folder
from kokeshi.tune.plot import draw, shortfall
from kokeshi.tune.ways import Form, Way, layouts, ways
from kokeshi.tune.worker import CandidateError, Round, Worker
from kokeshi.tune.writing import apply, updated

CONTRACT = ImageInput(height=8, width=8)
RANDOM = np.random.default_rng(0)
ROWS = RANDOM.integers(0, 256, (32, 8, 8, 3), dtype=np.uint8)
CPU = Machine(processor="CPU", flags=("avx2", "avx512_vnni"))
OTHER = Machine(processor="Other", flags=("avx2",))


def output(meaning, *shape):
    return Output(name="out", meaning=meaning, shape=shape)


def compared(meaning, reference, candidate, bounds=BOUNDS):
    outputs = [output(meaning, *reference.shape[1:])]
    return compare(outputs, {"out": reference}, {"out": candidate}, bounds)


def one(name, rows_per_s, mean=1.0, p50_ms=1.0, **fields):
    speed = Speed(batch_size=1, rows_per_s=rows_per_s, p50_ms=p50_ms, p99_ms=9.0)
    fidelity = Fidelity(output="out", measure="cosine", mean=mean, worst=0.5, bound=0.999)
    given = {"runtime": "onnxruntime", "precision": "FP32", "file": "model.onnx"} | fields
    return Candidate(name=name, speeds=(speed,), fidelity=(fidelity,), **given)


BASELINE = one("plain", 100)
FASTER = one("faster", 300, precision="INT8", file="model.int8-12345678.onnx")


def tuning(chosen=FASTER, hardware=CPU.cpu, **fields):
    given = {
        "hardware": hardware,
        "date": "2026-11-21T00:00:00+00:00",
        "versions": {},
        "goal": "throughput",
        "images": "some",
        "chosen": chosen.name,
        "candidates": (BASELINE, FASTER),
        "files": {FASTER.file: "f" * 64},
    }
    return Tuning(**given | fields)


def test_equal_outputs_are_wholly_faithful_by_every_measure():
    embeddings = RANDOM.normal(size=(20, 6)).astype(np.float32)
    maps = RANDOM.integers(0, 3, (5, 4, 4)).astype(np.uint8)
    found = [
        *compared(Meaning.EMBEDDING, embeddings, embeddings),
        *compared(Meaning.PROBABILITIES, embeddings, embeddings),
        *compared(Meaning.SCORES, embeddings, embeddings),
        *compared(Meaning.LABEL_MAP, maps, maps),
        *compared(Meaning.FOREGROUND, maps / 2.0, maps / 2.0),
    ]
    assert [one.measure for one in found] == [
        "cosine",
        "top-10 overlap",
        "top-1 agreement",
        "label agreement",
        "mIoU",
        "mIoU",
    ]
    assert all(it.mean == pytest.approx(1.0) and it.worst == pytest.approx(1.0) for it in found)


def test_measures_say_how_much_is_lost():
    probabilities = np.eye(4)[[0, 1, 2, 3]]
    (agreement,) = compared(Meaning.PROBABILITIES, probabilities, np.eye(4)[[0, 1, 2, 0]])
    assert (agreement.mean, agreement.worst, agreement.bound) == (0.75, 0.0, 0.99)
    (shares,) = compared(Meaning.SCORES, np.array([[0.9, 0.1]]), np.array([[0.9, 0.6]]))
    assert shares.mean == 0.5
    maps = np.zeros((1, 2, 2), np.uint8)
    changed = maps.copy()
    changed[0, 0, 0] = 1
    (iou,) = compared(Meaning.LABEL_MAP, maps, changed)
    assert iou.mean == pytest.approx((0.75 + 0.0) / 2)  # class 1 is in one of them alone
    embeddings = RANDOM.normal(size=(40, 3)).astype(np.float32)
    cosine, overlap = compared(Meaning.EMBEDDING, embeddings, -embeddings)
    assert cosine.mean == pytest.approx(-1.0)
    assert overlap.mean < 0.1


def test_outputs_that_are_no_numbers_agree_with_nothing():
    embeddings = RANDOM.normal(size=(20, 6)).astype(np.float32)
    cosine, _ = compared(Meaning.EMBEDDING, embeddings, np.full_like(embeddings, np.nan))
    assert cosine.mean == 0.0


def test_bounds_are_parsed_and_checked():
    assert parse_bounds([]) == BOUNDS
    assert parse_bounds(["cosine=0.9"]) == BOUNDS | {"cosine": 0.9}
    with pytest.raises(SetupError, match=r"measured by cosine, top-10 overlap, .* not by 'speed'"):
        parse_bounds(["speed=0.9"])
    for number in ("2", "-1", "much", ""):
        with pytest.raises(SetupError, match="a number from 0 to 1"):
            parse_bounds([f"mIoU={number}"])


def test_the_fastest_faithful_candidate_is_chosen():
    unfaithful = one("wrong", 900, mean=0.99)
    broken = Candidate(
        name="broken", runtime="openvino", precision="INT8", file="", failed="ended by SIGSEGV"
    )
    every = [BASELINE, FASTER, unfaithful, broken]
    assert choose(every, "throughput").name == "faster"
    assert choose([BASELINE, unfaithful, broken], "throughput").name == "plain"
    slow_start = one("throughput alone", 900, p50_ms=50.0)
    assert choose([BASELINE, slow_start], "latency").name == "plain"


def test_of_candidates_alike_by_the_goal_the_better_one_otherwise_is_chosen():
    quick, slow = one("quick", 99, p50_ms=5.0), one("slow", 100, p50_ms=10.0)
    assert choose([slow, quick], "throughput").name == "quick"
    assert choose([slow, one("far", 90, p50_ms=1.0)], "throughput").name == "slow"
    many = one("many", 500, p50_ms=5.1)
    assert choose([quick, many], "latency").name == "many"


def test_ways_are_those_of_the_machine_and_have_names_of_their_own():
    plain = ways(CPU, cores=2)
    assert [way.name for way in plain] == [
        "onnxruntime fp32, 1 x 2 threads",
        "onnxruntime int8, 1 x 2 threads",
        "onnxruntime fp32, 2 x 1 threads",
        "onnxruntime int8, 2 x 1 threads",
        "onnxruntime fp16, 1 x 2 threads",
    ]
    amx = Machine("Xeon", ("amx_bf16",), openvino="2026.4")
    assert "openvino bf16, 1 x 2 threads" in {way.name for way in ways(amx, cores=2)}
    without = Machine("Old", ("avx2",), openvino="2026.4")
    assert not any(way.precision == "BF16" for way in ways(without, cores=2))
    providers = frozenset({"CUDAExecutionProvider", "TensorrtExecutionProvider"})
    gpu = Machine("Xeon", (), (Gpu("NVIDIA L4", "8.9"),), providers, tensorrt="10.16.0")
    names = [way.name for way in ways(gpu, cores=16)]
    assert names[-5:] == [
        "cuda fp32", "cuda fp16", "tensorrt fp32", "tensorrt fp16", "tensorrt int8",
    ]  # fmt: skip
    assert len(set(names)) == len(names)
    assert layouts(16) == [(1, 16), (4, 4), (16, 1)]
    assert layouts(1) == [(1, 1)]


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (Way("onnxruntime", "FP32", Form.FP32, 1, 2), {"instance_group": [("KIND_CPU", 1)]}),
        (
            Way("onnxruntime", "INT8", Form.INT8, 2, 1),
            {"instance_group": [("KIND_CPU", 2)], "threads": "1"},
        ),
        (
            Way("openvino", "BF16", Form.FP32, 2, 1),
            {
                "instance_group": [("KIND_CPU", 2)],
                "accelerator": ("openvino", {"precision_mode": "BF16", "num_streams": "2"}),
            },
        ),
        (
            Way("tensorrt", "FP16", Form.FP32),
            {
                "instance_group": [("KIND_GPU", 1)],
                "accelerator": ("tensorrt", {"precision_mode": "FP16"}),
            },
        ),
        (Way("cuda", "FP16", Form.FP16), {"instance_group": [("KIND_GPU", 1)]}),
    ],
)
def test_a_way_is_written_as_triton_says_it_and_replaces_the_last(way, said):
    last = Way("openvino", "INT8", Form.INT8_SYMMETRIC, 4, 1).configured(ModelConfig(), "old.onnx")
    found = way.configured(last.model_copy(update={"parameters": {"mine": "1"}}), "new.onnx")
    both = found.optimization.execution_accelerators
    listed = [*both.gpu_execution_accelerator, *both.cpu_execution_accelerator]
    accelerators = [(it.name, it.parameters) for it in listed]
    assert accelerators == ([said["accelerator"]] if "accelerator" in said else [])
    assert [(group.kind, group.count) for group in found.instance_group] == said["instance_group"]
    assert found.parameters.get("intra_op_thread_count") == said.get("threads")
    assert found.parameters["mine"] == "1"
    assert found.default_model_filename == "new.onnx"
    assert from_pbtxt(to_pbtxt(found)) == found


def test_bundled_photographs_for_calibration_are_none_of_those_for_fidelity():
    ours, theirs = (bundled(CONTRACT, for_calibration=it) for it in (True, False))
    assert ours.rows.shape == theirs.rows.shape == (64, 8, 8, 3)
    assert ours.rows.dtype == np.uint8
    assert "astronaut" in ours.told
    assert "astronaut" not in theirs.told
    assert len({row.tobytes() for row in np.concatenate([ours.rows, theirs.rows])}) == 128


def test_pictures_of_a_folder_are_read_as_the_server_reads_them(tmp_path):
    for number in range(MIN_PICTURES):
        Image.new("RGB", (20, 20), (number, 0, 0)).save(tmp_path / f"{number:02}.png")
    (tmp_path / "broken.png").write_bytes(b"none")
    (tmp_path / "notes.txt").write_text("none")
    found = from_folder(tmp_path, CONTRACT)
    assert found.rows[:, 0, 0, 0].tolist() == list(range(MIN_PICTURES))
    assert found.told == f"{MIN_PICTURES} pictures of the user's"
    (tmp_path / "00.png").unlink()
    with pytest.raises(SetupError, match="holds 15 pictures that can be read, at least 16"):
        from_folder(tmp_path, CONTRACT)
    with pytest.raises(SetupError, match="is not a folder"):
        from_folder(tmp_path / "none", CONTRACT)


def network(path: Path) -> Path:
    """uint8 pictures through two convolutions and a linear head."""
    weights = {
        "first": RANDOM.normal(size=(4, 3, 3, 3)) * 0.2,
        "second": RANDOM.normal(size=(4, 4, 3, 3)) * 0.2,
        "head": RANDOM.normal(size=(4, 5)),
        "scale": np.array(1 / 255),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["cast", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "first"], ["a"], name="conv1", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"], name="conv2", pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("MatMul", ["e", "head"], ["out"], name="matmul"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 8, 8, 3])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 5])
    constants = [
        numpy_helper.from_array(it.astype(np.float32), name) for name, it in weights.items()
    ]
    made = helper.make_graph(nodes, "network", [image], [out], constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return path


def outputs_of(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": ROWS})[0]


@pytest.mark.parametrize("form", [Form.INT8, Form.INT8_SYMMETRIC, Form.FP16])
def test_graphs_of_lower_precision_answer_nearly_as_the_verified_one(tmp_path, form):
    graph = network(tmp_path / "model.onnx")
    before = graph.read_bytes()
    make(form, graph, tmp_path / "made.onnx", ROWS, "image", vnni=True)
    wanted, got = outputs_of(graph), outputs_of(tmp_path / "made.onnx")
    assert np.abs(wanted - got).max() < 0.05 * np.abs(wanted).max()
    assert not (wanted == got).all()
    assert graph.read_bytes() == before
    kinds = [node.op_type for node in onnx.load(tmp_path / "made.onnx").graph.node]
    assert ("QuantizeLinear" in kinds) is (form is not Form.FP16)
    assert sorted(it.name for it in tmp_path.iterdir()) == ["made.onnx", "model.onnx"]


def test_the_head_stays_in_fp32(tmp_path):
    assert heads(onnx.load(network(tmp_path / "model.onnx"))) == ["matmul"]


def test_graphs_whose_weights_lie_beside_them_are_refused(tmp_path):
    graph = network(tmp_path / "model.onnx")
    (tmp_path / "model.onnx.data").write_bytes(b"weights")
    with pytest.raises(SetupError, match="weights in a file of their own"):
        make(Form.INT8, graph, tmp_path / "made.onnx", ROWS, "image", vnni=True)


def test_a_crash_of_one_candidate_is_told_and_the_others_go_on(tmp_path):
    graph = network(tmp_path / "model.onnx")
    failed = {}
    with (
        Worker(graph, ModelConfig(), threads=1, callers=2) as first,
        Worker(graph, ModelConfig(), threads=1, callers=1) as second,
    ):
        first.opened()
        second.opened()
        assert np.allclose(first.outputs(ROWS)["out"], outputs_of(graph), atol=1e-6)
        assert first.peak_bytes() > 2**20
        os.kill(second.pid, signal.SIGKILL)
        workers = {"first": first, "second": second}
        speeds = measure(workers, ROWS, (1, 4), 0.02, failed.__setitem__)
    assert failed == {"second": "its process was ended by SIGKILL"}
    assert [speed.batch_size for speed in speeds["first"]] == [1, 4]
    assert all(speed.rows_per_s > 0 and speed.p50_ms <= speed.p99_ms for speed in speeds["first"])


def test_speed_is_that_of_the_least_disturbed_round():
    class Paced:
        def __init__(self, *seconds):
            self.seconds = list(seconds)

        def measure(self, rows, seconds):
            if seconds == 0:
                return None
            took_s = self.seconds.pop(0)
            return Round(len(rows), took_s, np.array([took_s]))

    workers = {"steady": Paced(2, 2, 2, 2, 2), "disturbed": Paced(9, 9, 1, 9, 9)}
    speeds = measure(workers, ROWS, (4,), 1.0, {}.__setitem__)
    (steady,), (disturbed,) = speeds["steady"], speeds["disturbed"]
    assert (steady.rows_per_s, steady.p50_ms, steady.p99_ms) == (2.0, 2000.0, 2000.0)
    assert (disturbed.rows_per_s, disturbed.p50_ms) == (4.0, 1000.0)
    assert disturbed.p99_ms == 9000.0


def test_a_candidate_that_cannot_run_as_configured_is_not_measured(tmp_path):
    graph = network(tmp_path / "model.onnx")
    named = ExecutionAccelerators(gpu_execution_accelerator=(Accelerator(name="speed"),))
    config = ModelConfig(optimization=Optimization(execution_accelerators=named))
    with (
        Worker(graph, config, threads=1, callers=1) as worker,
        pytest.raises(CandidateError, match="execution accelerator 'speed' is unknown"),
    ):
        worker.opened()


@pytest.fixture
def folder(tiny_repository: Path, tmp_path: Path) -> Path:
    """A model folder that a test may write into."""
    return Path(shutil.copytree(tiny_repository / "colours", tmp_path / "models" / "colours"))


def read(folder):
    config = from_pbtxt((folder / "config.pbtxt").read_text())
    return config, card_from(config)


def applied(folder, made, chosen=FASTER, digest="f" * 64):
    config, card = read(folder)
    way = Way("onnxruntime", "INT8", Form.INT8, 2, 1)
    found = tuning(chosen, files={chosen.file: digest}, candidates=(BASELINE, chosen))
    return apply(folder, card, found, way.configured(config, chosen.file), {chosen.file: made})


def test_a_choice_is_written_beside_the_verified_graph(folder, tmp_path):
    made = tmp_path / "made.onnx"
    made.write_bytes(b"graph")
    verified = (folder / "1" / "model.onnx").read_bytes()
    card = applied(folder, made)
    assert (folder / "1" / FASTER.file).read_bytes() == b"graph"
    assert (folder / "1" / "model.onnx").read_bytes() == verified
    config, written = read(folder)
    assert written == card
    assert json.loads((folder / "1" / "card.json").read_text()) == card.model_dump(mode="json")
    assert config.default_model_filename == FASTER.file
    assert config.instance_group == (InstanceGroup(kind="KIND_CPU", count=2),)
    assert card.digest_of(FASTER.file) == "f" * 64
    assert card.digest_of("model.onnx") == card.model_sha256
    assert not [it for it in folder.rglob("*") if it.name.endswith(".partial")]


def test_what_the_operator_wrote_is_kept(folder):
    text = (folder / "config.pbtxt").read_text()
    text += 'metric_tags { key: "team" value: "vision" }\noptimization { priority: PRIORITY_MAX }\n'
    config, card = read(folder)
    way = Way("openvino", "BF16", Form.FP32, 1, 2)
    found = updated(text, way.configured(config, "model.onnx"), card)
    assert 'key: "team"' in found
    assert "priority: PRIORITY_MAX" in found
    assert "max_queue_size: 1024" in found
    assert "default_model_filename" not in found
    assert 'name: "openvino"' in found
    plain = Way("onnxruntime", "FP32", Form.FP32, 1, 2)
    back = updated(found, plain.configured(config, "model.onnx"), card)
    assert "openvino" not in back
    assert "priority: PRIORITY_MAX" in back


def test_tuning_again_replaces_the_graph_of_the_last_time(folder, tmp_path):
    made = tmp_path / "made.onnx"
    made.write_bytes(b"graph")
    applied(folder, made)
    newer = one("newer", 400, precision="INT8", file="model.int8-87654321.onnx")
    made.write_bytes(b"newer")
    card = applied(folder, made, newer, "e" * 64)
    names = sorted(it.name for it in (folder / "1").iterdir())
    assert names == ["card.json", "model.int8-87654321.onnx", "model.onnx"]
    assert card.digest_of(newer.file) == "e" * 64


def test_what_tuning_wrote_can_be_taken_back_for_the_next_version(folder, tmp_path):
    before = (folder / "config.pbtxt").read_text()
    assert untuned_pbtxt(before) == before  # never tuned
    config, card = read(folder)
    way = Way("openvino", "INT8", Form.INT8_SYMMETRIC, 2, 1)
    found = card.model_copy(update={"tuning": tuning()})
    text = updated(before, way.configured(config, FASTER.file), found)
    assert from_pbtxt(untuned_pbtxt(text)).model_copy(update={"parameters": {}}) == (
        config.model_copy(update={"parameters": {}})
    )
    narrow = Way("onnxruntime", "FP32", Form.FP32, 2, 1).configured(config, "model.onnx")
    assert "intra_op_thread_count" in updated(before, narrow, found)
    assert "intra_op_thread_count" not in untuned_pbtxt(updated(before, narrow, found))


@pytest.mark.parametrize("last", ["card.json", "config.pbtxt"])
def test_a_write_that_fails_leaves_a_folder_that_still_fits_together(
    folder, tmp_path, monkeypatch, last
):
    made = tmp_path / "made.onnx"
    made.write_bytes(b"graph")
    replace = Path.replace

    def full_disk(self, target):
        if Path(target).name == last:
            raise OSError("no space left")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="no space left"):
        applied(folder, made)
    config, _ = read(folder)
    assert config.default_model_filename == ""
    beside = folder / "1" / "card.json"
    card = (
        type(read(folder)[1]).model_validate_json(beside.read_text()) if beside.exists() else None
    )
    if card is not None:
        assert card.digest_of("model.onnx") == card.model_sha256
        assert choose_graph(config, card, CPU).file == "model.onnx"
    assert not [it for it in folder.rglob("*") if it.name.endswith(".partial")]


def tuned(folder, hardware=CPU.cpu, chosen=FASTER):
    config, card = read(folder)
    way = Way("openvino", "INT8", Form.INT8, 2, 1)
    found = tuning(chosen, hardware=hardware)
    return way.configured(config, chosen.file), card.model_copy(update={"tuning": found})


def test_on_the_hardware_it_was_tuned_for_the_choice_runs(folder):
    config, card = tuned(folder)
    choice = choose_graph(config, card, CPU)
    assert (choice.file, choice.sha256, choice.degraded) == (FASTER.file, "f" * 64, "")
    assert choice.config == config
    config, card = tuned(folder, hardware="NVIDIA L4 (compute capability 8.9)")
    on_gpu = Machine("Any", (), (Gpu("NVIDIA L4", "8.9"),))
    assert choose_graph(config, card, on_gpu).file == FASTER.file


def test_on_other_hardware_the_verified_graph_runs_and_says_so(folder):
    config, card = tuned(folder)
    choice = choose_graph(config, card, OTHER)
    assert (choice.file, choice.sha256) == ("model.onnx", card.model_sha256)
    assert choice.config.optimization == Optimization()
    assert choice.config.default_model_filename == ""
    assert "intra_op_thread_count" not in choice.config.parameters
    assert choice.degraded == (
        "tuned for CPU (avx2 avx512_vnni), and this is Other (avx2): runs model.onnx in fp32; "
        "`kokeshi tune colours` measures anew"
    )


def test_the_verified_graph_itself_needs_no_particular_hardware(folder):
    config, card = tuned(folder, chosen=BASELINE)
    assert choose_graph(config, card, OTHER).degraded == ""
    untuned, plain = read(folder)
    assert choose_graph(untuned, plain, OTHER).sha256 == plain.model_sha256


def test_the_card_that_was_tuned_survives_its_json(folder):
    _, card = tuned(folder)
    assert type(card).model_validate_json(card.model_dump_json()) == card
    with pytest.raises(ValueError, match="'none' is none of the candidates"):
        tuning(chosen=one("none", 1))


def test_the_plot_shows_every_candidate_that_was_measured(tmp_path):
    pytest.importorskip("matplotlib")
    broken = Candidate(name="broken", runtime="x", precision="INT8", file="", failed="why")
    found = tuning(candidates=(BASELINE, FASTER, broken))
    draw("colours", found, tmp_path / "plot.svg")
    text = (tmp_path / "plot.svg").read_text()
    assert text.count("<use ") >= 2
    assert "<svg" in text
    assert shortfall(one("half", 1, mean=0.9995)) == pytest.approx(0.5)


def test_points_of_a_ball_have_no_measure_of_fidelity():
    output = Output(
        name="out", meaning=Meaning.EMBEDDING, shape=(3,), normalised=False, metric="hyperbolic"
    )
    rows = {"out": np.zeros((4, 3), np.float32)}
    with pytest.raises(SetupError, match="hyperbolic"):
        compare([output], rows, rows, BOUNDS)

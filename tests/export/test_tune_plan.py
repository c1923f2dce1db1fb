"""The plan for Triton's TensorRT backend: when it is built, of which candidate, and where to."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kokeshi.card import Candidate, Fidelity, Speed, Tuning
from kokeshi.cli.tune import app
from kokeshi.engines.config import card_from, from_pbtxt
from kokeshi.engines.runtimes.machine import Gpu, Machine, this_machine
from kokeshi.errors import SetupError
from kokeshi.tune import planning
from kokeshi.tune.ways import Form, Way
from kokeshi.tune.writing import apply

SHIPPED = Path(__file__).parents[2] / "model_repository"
GPUS = (Gpu("NVIDIA L4", "8.9"),)
PROVIDERS = frozenset({"CUDAExecutionProvider", "TensorrtExecutionProvider"})


def candidate(name, rows_per_s, mean=1.0, runtime="tensorrt", failed=""):
    speed = Speed(batch_size=1, rows_per_s=rows_per_s, p50_ms=1.0, p99_ms=2.0)
    fidelity = Fidelity(output="out", measure="cosine", mean=mean, worst=0.5, bound=0.999)
    return Candidate(
        name=name,
        runtime=runtime,
        precision="FP32",
        file="model.onnx",
        speeds=() if failed else (speed,),
        fidelity=() if failed else (fidelity,),
        failed=failed,
    )


def tuning(*candidates):
    return Tuning(
        hardware="CPU",
        date="2026-11-21T00:00:00+00:00",
        versions={},
        goal="throughput",
        images="some",
        chosen=candidates[0].name,
        candidates=candidates,
    )


PLAIN = candidate("onnxruntime fp32", 9000, runtime="onnxruntime")


@pytest.fixture
def repository(tmp_path):
    shutil.copytree(SHIPPED / "digits", tmp_path / "models" / "digits")
    return tmp_path / "models"


def test_the_plan_is_the_fastest_faithful_candidate_of_tensorrt():
    fp32, fp16 = candidate("tensorrt fp32", 100), candidate("tensorrt fp16", 200)
    int8 = candidate("tensorrt int8", 400, mean=0.9)
    assert planning.planned(tuning(PLAIN, fp32, fp16, int8)) is fp16


def test_without_a_faithful_candidate_of_tensorrt_each_reason_is_told():
    with pytest.raises(SetupError, match="can be the plan: none was measured"):
        planning.planned(tuning(PLAIN))
    lossy, broken = candidate("t fp16", 1, mean=0.9), candidate("t fp32", 1, failed="no memory")
    with pytest.raises(SetupError, match="t fp16: not faithful; t fp32: no memory"):
        planning.planned(tuning(PLAIN, lossy, broken))


@pytest.mark.parametrize(
    ("machine", "message"),
    [
        (Machine("Xeon", ()), "the GPU that is to run it, and there is none here"),
        (Machine("Xeon", (), GPUS, PROVIDERS), "TensorRT 10, which does not load here"),
        (Machine("Xeon", (), GPUS, tensorrt="10.16.0"), "TensorRT 10, which does not load here"),
    ],
)
def test_a_machine_that_cannot_build_a_plan_is_refused(machine, message):
    with pytest.raises(SetupError, match=message):
        planning.check(machine)


def test_a_machine_whose_python_has_no_tensorrt_is_refused():
    machine = Machine("Xeon", (), GPUS, PROVIDERS, tensorrt="10.16.0")
    if find_spec("tensorrt") is not None:
        planning.check(machine)
        return
    with pytest.raises(SetupError, match=r"pip install 'kokeshi\[gpu,tensorrt\]'"):
        planning.check(machine)


def test_a_plan_lies_beside_the_graph_and_nothing_names_it(repository, tmp_path):
    folder, made = repository / "digits", tmp_path / "model.plan"
    made.write_bytes(b"engine")
    text = (folder / "config.pbtxt").read_text()
    config = from_pbtxt(text)
    way = Way("onnxruntime", "FP32", Form.FP32, 1, 2).configured(config, "model.onnx")
    card = apply(folder, card_from(config), tuning(PLAIN), way, {"model.plan": made})
    assert (folder / "1" / "model.plan").read_bytes() == b"engine"
    assert "model.plan" not in (folder / "config.pbtxt").read_text()
    assert card.tuning.files == {}


@pytest.mark.parametrize("flags", [[], ["--dry-run"]])
def test_the_command_refuses_a_plan_before_it_measures_anything(repository, flags):
    if this_machine().gpus:
        pytest.skip("this machine has a GPU")
    before = {path: path.stat().st_mtime_ns for path in repository.rglob("*")}
    given = ["digits", "--repository", str(repository), "--plan", *flags]
    shown = CliRunner().invoke(app, given)
    assert isinstance(shown.exception, SetupError)
    assert "a plan is built on the GPU that is to run it" in str(shown.exception)
    assert shown.output == ""
    assert before == {path: path.stat().st_mtime_ns for path in repository.rglob("*")}

"""Tuning a shipped model from beginning to end, by the function and by the command."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from kokeshi.cli.tune import app
from kokeshi.contract import Meaning
from kokeshi.engines.config import card_from, from_pbtxt
from kokeshi.engines.embedded import EmbeddedEngine
from kokeshi.engines.protocol import Request, State
from kokeshi.engines.repository import graph_digest
from kokeshi.engines.runtimes import open_runtime, this_machine
from kokeshi.engines.runtimes.tuned import choose
from kokeshi.errors import ArtefactError, ModelNotFoundError, SetupError
from kokeshi.tune import BATCH_SIZES, BOUNDS, SECONDS, Options, tune
from kokeshi.tune.pictures import bundled

SHIPPED = Path(__file__).parents[2] / "model_repository"
NOTHING = dict.fromkeys(BOUNDS, 0.0)  # every candidate is faithful enough
QUICK = Options(cores=1, seconds=0.02, batch_sizes=(1, 4), only=("onnxruntime int8",))


@pytest.fixture
def repository(tmp_path):
    """The shipped classifier of digits, to write into."""
    shutil.copytree(SHIPPED / "digits", tmp_path / "models" / "digits")
    return tmp_path / "models"


def read(repository):
    config = from_pbtxt((repository / "digits" / "config.pbtxt").read_text())
    return config, card_from(config)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_tuned_model_opens_as_chosen_and_answers_as_measured(repository):
    stages = []
    options = Options(**vars(QUICK) | {"bounds": NOTHING})
    card = tune(
        repository,
        "digits",
        options,
        this_machine(),
        write=True,
        on_progress=lambda stage, fraction: stages.append((stage, fraction)),
    )
    assert list(dict(stages)) == ["graphs", "opening", "fidelity", "speed"]
    assert {fraction for stage, fraction in stages if fraction == 1.0}

    config, written = read(repository)
    assert written == card
    assert card.tuning.hardware == this_machine().cpu
    names = [one.name for one in card.tuning.candidates]
    assert names == ["onnxruntime fp32, 1 x 1 threads", "onnxruntime int8, 1 x 1 threads"]
    assert all(
        [speed.batch_size for speed in one.speeds] == [1, 4] for one in card.tuning.candidates
    )

    choice = choose(config, card, this_machine())
    graph = repository / "digits" / "1" / choice.file
    assert graph_digest(graph) == choice.sha256
    assert choice.degraded == ""
    rows = bundled(card.image, for_calibration=False).rows
    chosen = open_runtime(graph, choice.config, threads=1).run({"image": rows})
    plain = open_runtime(graph.with_name("model.onnx"), config, threads=1).run({"image": rows})
    said = {one.measure: one.mean for one in card.tuning.choice.fidelity}
    (embedding,) = (one.name for one in card.outputs if one.meaning is Meaning.EMBEDDING)
    cosines = (chosen[embedding] * plain[embedding]).sum(axis=1)
    assert np.mean(cosines) == pytest.approx(said["cosine"], abs=1e-4)


async def test_the_server_runs_the_choice_and_on_other_hardware_says_that_it_does_not(repository):
    options = Options(**vars(QUICK) | {"bounds": NOTHING, "goal": "latency"})
    card = tune(repository, "digits", options, this_machine(), write=True)
    rows = bundled(card.image, for_calibration=False).rows[:8]
    ours = await served(repository, rows)
    assert (ours.state, ours.reason) == (State.READY, "")

    moved = card.tuning.model_copy(update={"hardware": "Xeon (avx2)", "chosen": INT8})
    elsewhere = card.model_copy(update={"tuning": moved})
    (repository / "digits" / "1" / "card.json").write_text(elsewhere.model_dump_json())
    theirs = await served(repository, rows)
    assert theirs.state is State.DEGRADED
    assert "tuned for Xeon (avx2), and this is" in theirs.reason
    plain = open_runtime(
        repository / "digits" / "1" / "model.onnx", read(repository)[0], threads=1
    ).run({"image": rows})
    assert np.allclose(theirs.outputs["probabilities"], plain["probabilities"], atol=1e-6)


INT8 = "onnxruntime int8, 1 x 1 threads"


@dataclass
class Served:
    state: State
    reason: str
    outputs: dict


async def served(repository, rows):
    """How the embedded engine serves the model."""
    engine = EmbeddedEngine(repository, threads=1)
    await engine.start()
    try:
        (status,) = engine.models()
        outputs = await engine.infer(Request("digits", {"image": rows}))
        return Served(status.state, status.reason, outputs)
    finally:
        await engine.close()


def test_bounds_that_nothing_else_keeps_leave_the_verified_graph(repository):
    strict = Options(**vars(QUICK) | {"bounds": dict.fromkeys(BOUNDS, 1.0)})
    before = (repository / "digits" / "1" / "model.onnx").read_bytes()
    card = tune(repository, "digits", strict, this_machine(), write=True)
    assert card.tuning.choice.precision == "FP32"
    assert card.tuning.files == {}
    config, _ = read(repository)
    assert config.default_model_filename == ""
    assert sorted(it.name for it in (repository / "digits" / "1").iterdir()) == [
        "card.json",
        "model.onnx",
    ]
    assert (repository / "digits" / "1" / "model.onnx").read_bytes() == before


def test_the_command_tells_what_it_measured_and_a_dry_run_writes_nothing(repository):
    before = contents(repository)
    flags = ["digits", "--repository", str(repository), "--dry-run", "--seconds", "0.02"]
    flags += ["--batch-sizes", "1,2", "--only", "onnxruntime"]
    shown = CliRunner().invoke(app, flags)
    assert shown.exit_code == 0, shown.output
    assert "onnxruntime fp32, 1 x" in shown.stdout
    assert "images/s at 2" in shown.stdout
    assert "embedding: cosine" in shown.stdout
    assert "would run (dry run: nothing was written)" in shown.stdout
    assert contents(repository) == before


def test_the_command_prints_json(repository):
    flags = ["digits", "--repository", str(repository), "--dry-run", "--seconds", "0.02"]
    shown = CliRunner().invoke(app, [*flags, "--only", "nothing", "--batch-sizes", "1", "--json"])
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.stdout)
    assert [one["precision"] for one in told["candidates"]] == ["FP32"]
    assert told["chosen"] == told["candidates"][0]["name"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch-sizes", "1,x"], "batch sizes are numbers with commas between them, not '1,x'"),
        (["--batch-sizes", "0"], "not '0'"),
        (["--fidelity", "speed=1"], "not by 'speed'"),
        (["--images", "none"], "'none' is not a folder"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_runs(repository, flags, message):
    given = ["digits", "--repository", str(repository), *flags]
    shown = CliRunner().invoke(app, given)
    assert isinstance(shown.exception, SetupError)
    assert message in str(shown.exception)


def test_what_cannot_be_tuned_is_refused(tiny_repository, repository):
    machine = this_machine()
    with pytest.raises(ModelNotFoundError, match="no model 'none'"):
        tune(repository, "none", QUICK, machine, write=True)
    with pytest.raises(SetupError, match="takes text; models of images are tuned"):
        tune(tiny_repository, "pair.text", QUICK, machine, write=True)
    version = repository / "digits" / "2"
    shutil.copytree(repository / "digits" / "1", version)
    path = repository / "digits" / "config.pbtxt"
    text = path.read_text()
    path.write_text(text + "version_policy { all { } }\n")
    with pytest.raises(ArtefactError, match="serves versions 1, 2"):
        tune(repository, "digits", QUICK, machine, write=True)
    shutil.rmtree(version)
    (repository / "digits" / "1" / "model.onnx").write_bytes(b"other")
    with pytest.raises(ArtefactError, match=r"model\.onnx of model 'digits' is not the graph"):
        tune(repository, "digits", QUICK, machine, write=True)


def test_the_help_says_the_defaults():
    defaults = {parameter.name: parameter.default for parameter in _command().params}
    assert defaults["batch_sizes"] == ",".join(map(str, BATCH_SIZES))
    assert defaults["seconds"] == SECONDS


def _command():
    import typer

    return typer.main.get_command(app)

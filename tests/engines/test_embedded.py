"""The embedded engine on a repository that is right, and on every way for one to be wrong."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from kokeshi.card import PARAMETER, Candidate, Tuning
from kokeshi.engines.config import card_from, from_pbtxt, to_pbtxt
from kokeshi.engines.embedded import EmbeddedEngine
from kokeshi.engines.protocol import Request, State
from kokeshi.errors import (
    ArtefactError,
    InvalidRequestError,
    ModelNotFoundError,
    UnavailableError,
)


@pytest.fixture
def repository(tiny_repository: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(tiny_repository, tmp_path / "models"))


@pytest.fixture
async def start():
    engines = []

    async def started(repository: Path, **options):
        engine = EmbeddedEngine(repository, threads=1, **options)
        engines.append(engine)
        await engine.start()
        return engine

    yield started
    for engine in engines:
        await engine.close()


def _status(engine, name):
    return next(status for status in engine.models() if status.name == name)


def _edit_config(repository: Path, model: str, old: str, new: str, count: int = -1) -> None:
    path = repository / model / "config.pbtxt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


UNREADABLE = Path("/proc/self/mem")  # a file to `stat`, and an error to read
PIXELS = np.full((2, 8, 8, 3), [255, 0, 0], np.uint8)


async def test_a_right_repository_is_ready_and_answers(start, repository):
    engine = await start(repository)
    assert {status.state for status in engine.models()} == {State.READY}
    answer = await engine.infer(Request("colours", {"image": PIXELS}, outputs=["probabilities"]))
    assert set(answer) == {"probabilities"}
    assert answer["probabilities"].shape == (2, 3)
    assert answer["probabilities"].argmax(1).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "takes the input 'image', not none"),
        ({"picture": PIXELS}, "takes the input 'image', not 'picture'"),
        ({"image": PIXELS.astype(np.float32)}, "not float32"),
        ({"image": PIXELS[:, :4]}, r"not uint8 \(2, 4, 8, 3\)"),
        ({"image": PIXELS[0]}, r"not uint8 \(8, 8, 3\)"),
        ({"image": PIXELS[:0]}, "takes 1 to 32 rows"),
        ({"image": np.zeros((33, 8, 8, 3), np.uint8)}, "takes 1 to 32 rows at once, not 33"),
    ],
)
async def test_inputs_that_do_not_fit_are_refused(start, repository, inputs, message):
    engine = await start(repository)
    with pytest.raises(InvalidRequestError, match=message):
        await engine.infer(Request("colours", inputs))


async def test_unknown_outputs_models_and_versions_are_refused(start, repository):
    engine = await start(repository)
    with pytest.raises(InvalidRequestError, match="'logits'"):
        await engine.infer(Request("colours", {"image": PIXELS}, outputs=["logits"]))
    with pytest.raises(ModelNotFoundError):
        await engine.infer(Request("none", {"image": PIXELS}))
    with pytest.raises(ModelNotFoundError, match="version 2"):
        engine.card("colours", 2)


def _truncate(repository):
    graph = repository / "colours" / "1" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-20])


def _remove_graph(repository):
    (repository / "colours" / "1" / "model.onnx").unlink()


def _remove_config(repository):
    (repository / "colours" / "config.pbtxt").unlink()


def _remove_config_and_graph(repository):
    _remove_config(repository)
    _remove_graph(repository)


def _spoil_config(repository):
    (repository / "colours" / "config.pbtxt").write_text("name: [")


def _lead_out_of_the_folder(repository):
    path = repository / "colours" / "config.pbtxt"
    path.write_text(path.read_text() + 'default_model_filename: "../../tags/1/model.onnx"')


def _ask_for_python(repository):
    _edit_config(repository, "colours", 'backend: "onnxruntime"', 'backend: "python"')


def _leave_out_what_has_no_default(repository):
    path = repository / "colours" / "config.pbtxt"
    path.write_text(path.read_text() + "version_policy { latest { } }")


def _rename_version(repository):
    (repository / "colours" / "1").rename(repository / "colours" / "one")


def _wrong_version(repository):
    (repository / "colours" / "1").rename(repository / "colours" / "3")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_truncate, "not the graph that the card describes"),
        (_remove_graph, "has no model.onnx"),
        (_remove_config_and_graph, "no config.pbtxt, and no model.onnx"),
        (_spoil_config, "line 1"),
        (_leave_out_what_has_no_default, "version_policy.latest.num_versions: field required"),
        (_lead_out_of_the_folder, "does not name a file of the model's folder"),
        (_ask_for_python, "is for the backend 'python'; this engine runs 'onnxruntime'"),
        (_rename_version, "no version folder"),
        (_wrong_version, "card is of version 1, not 3"),
    ],
)
async def test_a_broken_model_fails_with_its_reason_and_the_others_serve(
    start, repository, spoil, reason
):
    spoil(repository)
    engine = await start(repository)
    status = _status(engine, "colours")
    assert status.state is State.FAILED
    assert reason in status.reason
    assert str(repository) not in status.reason
    with pytest.raises(UnavailableError, match="is failed"):
        await engine.infer(Request("colours", {"image": PIXELS}))
    assert _status(engine, "tags").state is State.READY


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda file: file.unlink(), "there is no tokenizer.json"),
        (lambda file: file.write_text("{}"), "not the tokeniser that the card describes"),
    ],
)
async def test_a_model_of_texts_needs_its_tokeniser(start, repository, spoil, reason):
    spoil(repository / "pair.text" / "tokenizer.json")
    status = _status(await start(repository), "pair.text")
    assert status.state is State.FAILED
    assert reason in status.reason


@pytest.mark.skipif(not UNREADABLE.exists(), reason="needs a file that nobody can read")
async def test_a_config_that_cannot_be_read_fails_its_model_alone(start, repository):
    _remove_config(repository)
    (repository / "colours" / "config.pbtxt").symlink_to(UNREADABLE)
    engine = await start(repository)
    assert _status(engine, "colours").reason == "config.pbtxt cannot be read: Input/output error"
    assert _status(engine, "tags").state is State.READY


async def test_half_of_a_model_of_two_parts_is_not_served(start, repository):
    shutil.rmtree(repository / "pair.text")
    engine = await start(repository)
    assert "part 'pair.text' of version 1 is missing" in _status(engine, "pair.image").reason


async def test_untrained_weights_are_refused_unless_allowed(start, repository):
    _edit_config(repository, "colours", r"\"source\":\"by hand\"", r"\"source\":\"untrained\"")
    engine = await start(repository)
    assert "--allow-untrained" in _status(engine, "colours").reason
    allowed = await start(repository, allow_untrained=True)
    assert _status(allowed, "colours").state is State.READY


async def test_the_newest_version_answers_and_the_policy_decides_what_is_loaded(start, repository):
    shutil.copytree(repository / "colours" / "1", repository / "colours" / "2")
    shutil.copytree(repository / "colours" / "1", repository / "colours" / "010")
    _edit_config(repository, "colours", r"\"version\":1", r"\"version\":2")
    engine = await start(repository)
    assert [status.version for status in engine.models() if status.name == "colours"] == [2]
    assert engine.card("colours").version == 2


async def test_folders_in_the_making_are_not_models(start, repository):
    shutil.copytree(repository / "colours", repository / ".colours-half")
    engine = await start(repository)
    assert ".colours-half" not in {status.name for status in engine.models()}


async def test_a_repository_that_is_no_folder_is_a_setup_error(start, tmp_path):
    with pytest.raises(ArtefactError, match="is not a folder"):
        await start(tmp_path / "nowhere")


async def test_a_batch_size_of_zero_runs_one_row_at_a_time(start, repository):
    _edit_config(repository, "tags", "max_batch_size: 32\n", "")
    _edit_config(repository, "tags", "dims: [8, 8, 3]", "dims: [1, 8, 8, 3]")  # warm-up as well
    _edit_config(repository, "tags", "dims: [1, 8, 8, 3]", "dims: [-1, 8, 8, 3]", 1)
    _edit_config(repository, "tags", "dims: [3]", "dims: [-1, 3]")
    engine = await start(repository)
    assert _status(engine, "tags").reason == ""
    assert engine.max_rows("tags") == 1
    answer = await engine.infer(Request("tags", {"image": PIXELS[:1]}))
    assert answer["scores"].round(3).tolist() == [[1.0, 0.0, 0.0]]


async def test_a_closed_engine_has_no_models(start, repository):
    engine = await start(repository)
    await engine.close()
    with pytest.raises(ModelNotFoundError):
        await engine.infer(Request("colours", {"image": PIXELS}))


async def test_a_model_that_was_tuned_for_other_hardware_runs_the_verified_graph(start, repository):
    path = repository / "tags" / "config.pbtxt"
    config = from_pbtxt(path.read_text())
    card = card_from(config)
    fast = Candidate(name="int8", runtime="onnxruntime", precision="INT8", file="fast.onnx")
    tuning = Tuning(
        hardware="a machine of long ago",
        date="2026-11-21",
        versions={},
        goal="latency",
        images="none",
        chosen="int8",
        candidates=(fast,),
        files={"fast.onnx": "0" * 64},
    )
    tuned = card.model_copy(update={"tuning": tuning})
    changes = {
        "default_model_filename": "fast.onnx",
        "parameters": {PARAMETER: tuned.model_dump_json()},
    }
    path.write_text(to_pbtxt(config.model_copy(update=changes)))
    engine = await start(repository)
    status = _status(engine, "tags")
    assert status.state is State.DEGRADED
    assert "tuned for a machine of long ago" in status.reason
    assert (await engine.infer(Request("tags", {"image": PIXELS})))["scores"].shape == (2, 3)

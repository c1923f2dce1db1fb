"""Publication: whole or not at all, whatever is killed when."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kokeshi.card import Card, CheckpointCard, PaperCard, Parity
from kokeshi.contract import ImageInput, Meaning, Output
from kokeshi.engines.config import card_from, from_pbtxt
from kokeshi.errors import ArtefactError
from kokeshi.export import artefact
from kokeshi.export.artefact import Draft, publish, settle, staging


def card(name="dolls", **changes) -> Card:
    return Card(
        name=name,
        version=1,
        method="dolls",
        paper=PaperCard(title="Dolls", authors="A", year=2020, url="https://example.org"),
        checkpoint=CheckpointCard(source="untrained", sha256="", licence="MIT"),
        model_sha256="0",
        space="0",
        input=ImageInput(height=4, width=4),
        outputs=(Output(name="embedding", meaning=Meaning.EMBEDDING, shape=(2,)),),
        parity=Parity(reference="none", images=0, noise=0, batch_sizes=(), agreements=()),
        exported_by={},
    ).model_copy(update=changes)


def publish_drafts(repository: Path, *cards: Card, **options) -> list[Card]:
    with staging(repository) as folder:
        return publish(repository, folder, drafts(folder, *cards, **options))


def drafts(folder: Path, *cards: Card, **options) -> list[Draft]:
    made = []
    for index, each in enumerate(cards):
        graph = folder / f"{index}.onnx"
        graph.write_bytes(b"graph")
        made.append(Draft(each, graph, **options))
    return made


def complete_staging(repository: Path, *cards: Card) -> Path:
    """What a process leaves that dies after everything is written and before it is moved."""
    repository.mkdir(exist_ok=True)
    folder = repository.parent / f".{repository.name}-export-dead"
    folder.mkdir()
    for draft in drafts(folder, *cards):
        artefact._stage(repository, folder / "models" / draft.card.name, draft, draft.card)
    artefact._mark_complete(folder)
    return folder


def visible(repository: Path) -> list[str]:
    paths = (path for path in repository.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(repository)) for path in paths)


FILES = ["dolls/1/card.json", "dolls/1/model.onnx", "dolls/config.pbtxt"]


def test_nothing_is_visible_before_publication_and_nothing_is_left_after(tmp_path):
    repository = tmp_path / "models"
    with staging(repository) as folder:
        made = drafts(folder, card())
        assert visible(repository) == []
        publish(repository, folder, made)
    assert visible(repository) == FILES
    assert [entry.name for entry in tmp_path.iterdir()] == ["models"]


def test_parts_get_one_version_beyond_the_newest_of_all(tmp_path):
    publish_drafts(tmp_path, card("pair.image"))
    cards = publish_drafts(tmp_path, card("pair.image"), card("pair.text"))
    assert [(each.name, each.version) for each in cards] == [("pair.image", 2), ("pair.text", 2)]
    assert (tmp_path / "pair.image/1/model.onnx").exists()
    assert not (tmp_path / "pair.text/1").exists()


def test_a_part_that_cannot_be_published_holds_back_the_others(tmp_path):
    (tmp_path / "models/pair.text").mkdir(parents=True)
    with pytest.raises(ArtefactError, match=r"'pair.text'"):
        publish_drafts(tmp_path / "models", card("pair.image"), card("pair.text"))
    assert visible(tmp_path / "models") == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["models"]


def test_files_of_the_front_end_lie_beside_the_configuration(tmp_path):
    publish_drafts(tmp_path, card(), files={"tokenizer.json": b"{}"})
    assert (tmp_path / "dolls/tokenizer.json").read_bytes() == b"{}"


def test_batching_is_kept_unless_it_is_asked_for(tmp_path):
    def rows():
        return from_pbtxt((tmp_path / "dolls/config.pbtxt").read_text()).max_batch_size

    publish_drafts(tmp_path, card(), max_batch_size=7)
    assert rows() == 7
    publish_drafts(tmp_path, card())
    assert rows() == 7
    publish_drafts(tmp_path, card(), max_batch_size=0)
    assert rows() == 0


def test_a_kill_between_the_moves_of_two_parts_is_carried_through(tmp_path):
    repository = tmp_path / "models"
    folder = complete_staging(repository, card("pair.image"), card("pair.text"))
    (folder / "models/pair.image").rename(repository / "pair.image")
    settle(repository)
    assert sorted(entry.name for entry in repository.iterdir()) == ["pair.image", "pair.text"]
    assert not folder.exists()


@pytest.mark.parametrize("moved", [(), ("2",), ("2", "labels.txt")])
def test_a_kill_between_version_and_configuration_is_carried_through(moved, tmp_path):
    repository = tmp_path / "models"
    publish_drafts(repository, card(labels=("a", "b")))
    folder = complete_staging(repository, card(version=2, labels=("c", "d")))
    for name in moved:
        (folder / "models/dolls" / name).replace(repository / "dolls" / name)
    config = repository / "dolls/config.pbtxt"
    assert card_from(from_pbtxt(config.read_text())).version == 1
    settle(repository)
    assert card_from(from_pbtxt(config.read_text())).version == 2
    assert (repository / "dolls/labels.txt").read_text() == "c\nd\n"
    assert (repository / "dolls/2/model.onnx").exists()


def test_the_next_publication_settles_first_and_takes_the_version_after(tmp_path):
    repository = tmp_path / "models"
    complete_staging(repository, card())
    (published,) = publish_drafts(repository, card())
    assert published.version == 2
    assert (repository / "dolls/1/card.json").exists()


def test_a_staging_folder_without_the_mark_is_dropped(tmp_path):
    folder = complete_staging(tmp_path / "models", card())
    (folder / "complete").unlink()
    settle(tmp_path / "models")
    assert visible(tmp_path / "models") == []
    assert not folder.exists()


def test_the_staging_folder_of_a_running_export_is_left_alone(tmp_path):
    repository = tmp_path / "models"
    with staging(repository) as folder:
        settle(repository)
        assert folder.exists()


def test_settling_where_there_is_no_repository_does_nothing(tmp_path):
    settle(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from kokeshi.export.artefact import staging
with staging(Path(sys.argv[1])) as folder:
    (folder / "half.onnx").write_bytes(b"half a gra")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_lock_of_a_killed_process_is_released(tmp_path):
    repository = tmp_path / "models"
    child = subprocess.run([sys.executable, "-c", KILLED, str(repository)], check=False)
    assert child.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    settle(repository)
    assert [entry.name for entry in tmp_path.iterdir()] == ["models"]


def test_a_repository_whose_parent_is_closed_stages_inside(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    repository = tmp_path / "models"
    repository.mkdir()
    tmp_path.chmod(0o555)
    try:
        with staging(repository) as folder:
            assert folder.parent == repository.resolve()
            assert folder.name.startswith(".")
    finally:
        tmp_path.chmod(0o755)


def test_a_repository_on_a_file_system_of_its_own_stages_inside(tmp_path):
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == shared.parent.stat().st_dev:
        pytest.skip("needs a mount point to write to")
    assert artefact._is_mount_or_closed(shared)


def test_concurrent_exports_of_one_model_get_versions_of_their_own(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from importlib.util import module_from_spec, spec_from_file_location\n"
        "spec = spec_from_file_location('t', sys.argv[1])\n"
        "t = module_from_spec(spec); spec.loader.exec_module(t)\n"
        "for _ in range(15): t.publish_drafts(Path(sys.argv[2]), t.card())\n"
    )
    command = [sys.executable, "-c", code, __file__, str(tmp_path / "models")]
    children = [subprocess.Popen(command) for _ in range(4)]
    assert [child.wait() for child in children] == [0, 0, 0, 0]
    versions = [entry.name for entry in (tmp_path / "models/dolls").iterdir() if entry.is_dir()]
    assert sorted(map(int, versions)) == list(range(1, 61))
    config = (tmp_path / "models/dolls/config.pbtxt").read_text()
    assert card_from(from_pbtxt(config)).version == 60


def test_a_folder_whose_configuration_contradicts_its_card_is_not_overwritten(tmp_path):
    publish_drafts(tmp_path, card())
    config = tmp_path / "dolls/config.pbtxt"
    config.write_text(config.read_text().replace("dims: [4, 4, 3]", "dims: [1, 4, 4, 3]", 1))
    with pytest.raises(ArtefactError, match="its card says image"):
        publish_drafts(tmp_path, card())
    shutil.rmtree(tmp_path / "dolls")
    publish_drafts(tmp_path, card())


def test_the_configuration_arrives_last(tmp_path):
    repository = tmp_path / "models"
    publish_drafts(repository, card(labels=("a", "b")))
    complete_staging(repository, card(version=2, labels=("c", "d")))
    config = repository / "dolls/config.pbtxt"
    config.unlink()
    config.mkdir()  # what a rename cannot replace
    with pytest.raises(IsADirectoryError):
        settle(repository)
    assert (repository / "dolls/2/model.onnx").exists()
    assert (repository / "dolls/labels.txt").read_text() == "c\nd\n"

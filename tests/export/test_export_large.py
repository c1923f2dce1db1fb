"""Weights too large for a graph's own file: beside it, verified, published and checked with it."""

import hashlib
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kokeshi.card import Card
from kokeshi.contract import ImageInput, Meaning, Output
from kokeshi.engines.embedded import EmbeddedEngine
from kokeshi.engines.protocol import Request, State
from kokeshi.engines.repository import Entry, scan
from kokeshi.errors import ArtefactError, VerificationError
from kokeshi.export import export
from kokeshi.export.artefact import settle
from kokeshi.plugin import Method, Options, Paper, Part, Recipe
from kokeshi.registry import Registry

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.export
nn = torch.nn
torch.set_num_threads(2)

SIZE = 8
PIXELS = 3 * SIZE * SIZE
WIDTH = 64
WEIGHT_BYTES = 4 * PIXELS * WIDTH
LIMIT = 10_000  # bytes; the weights are five times as large


class Wide(nn.Module):
    """One matrix; with `lies`, another function of it in the graph than in PyTorch."""

    def __init__(self, lies=False):
        super().__init__()
        self.matrix = nn.Linear(PIXELS, WIDTH, bias=False)
        self.lies = lies

    def forward(self, x):
        x = x.abs() if self.lies and torch.compiler.is_exporting() else x
        return (nn.functional.normalize(self.matrix(x.flatten(1)), dim=1),)


def build(options: Options) -> Recipe:
    contract = ImageInput(height=SIZE, width=SIZE)
    output = Output(name="embedding", meaning=Meaning.EMBEDDING, shape=(WIDTH,))
    roles = ("left", "right") if options.variant == "two" else ("main",)
    modules = {role: Wide(lies=options.variant == "liar") for role in roles}
    parts = tuple(Part(modules[role], contract, (output,), role=role) for role in roles)
    return Recipe(nn.ModuleDict(modules), parts)


PAPER = Paper("On Large Dolls", "A. Turner", 2020, "https://example.org/large")
REGISTRY = Registry.of([("toys", Method("wide", PAPER, "MIT", ("wide", "two", "liar"), build))])


def make(name: str, repository: Path, **options) -> list[Card]:
    options = {"max_file_bytes": LIMIT, **options}
    return export(name, repository=repository, registry=REGISTRY, untrained=True, **options)


def entry(repository: Path, version=1) -> Entry:
    return next(found for found in scan(repository) if found.version == version)


def version_folder(repository: Path, name="wide", version=1) -> Path:
    return repository / name / str(version)


def sums(folder: Path) -> str:
    """What `sha256sum model.onnx model.onnx.data | sha256sum` says in a version's folder."""
    digests = [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("model.onnx", "model.onnx.data")
    ]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


@pytest.fixture
def large(tmp_path) -> tuple[Path, Card]:
    (card,) = make("wide", tmp_path / "models")
    return tmp_path / "models", card


def test_large_weights_lie_beside_a_small_graph_and_the_card_covers_both(large):
    repository, card = large
    folder = version_folder(repository)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["card.json", "model.onnx", "model.onnx.data"]
    assert (folder / "model.onnx").stat().st_size < LIMIT
    assert (folder / "model.onnx.data").stat().st_size >= WEIGHT_BYTES
    assert card.model_sha256 == sums(folder)
    assert [path.name for path in repository.parent.iterdir()] == ["models"]


def test_weights_up_to_the_limit_stay_in_the_graph(tmp_path):
    normalisation_bytes = 4 * 6
    slack = 200  # axes and shapes that the exporter adds
    total = WEIGHT_BYTES + normalisation_bytes
    (card,) = make("wide", tmp_path, max_file_bytes=total + slack)
    folder = version_folder(tmp_path)
    assert not (folder / "model.onnx.data").exists()
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert card.model_sha256 == digest
    make("wide", tmp_path, max_file_bytes=total - 1)
    assert (version_folder(tmp_path, version=2) / "model.onnx.data").exists()


def test_the_same_weights_give_the_same_two_files_and_the_same_space(large):
    repository, card = large
    (again,) = make("wide", repository)
    first, second = version_folder(repository), version_folder(repository, version=2)
    for name in ("model.onnx", "model.onnx.data"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert (again.version, again.model_sha256, again.space) == (2, card.model_sha256, card.space)


async def test_the_engine_serves_it(large):
    repository, card = large
    engine = EmbeddedEngine(repository, threads=1, allow_untrained=True)
    await engine.start()
    rows = np.random.default_rng(3).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    found = await engine.infer(Request("wide", {"image": rows}))
    await engine.close()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build(Options("wide")).parts[0].module
    mean, std = torch.tensor(card.image.mean), torch.tensor(card.image.std)
    pixels = ((torch.from_numpy(rows) / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        np.testing.assert_allclose(found["embedding"], module(pixels)[0], atol=1e-5)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data"])
def test_a_change_to_either_file_is_found(name, large):
    repository, card = large
    entry(repository).check_graph(card)
    flip_a_bit(version_folder(repository) / name)
    with pytest.raises(ArtefactError, match=r"model.onnx with model.onnx.data is not the graph"):
        entry(repository).check_graph(card)


async def test_a_graph_without_its_weights_is_not_served(large):
    repository, _ = large
    (version_folder(repository) / "model.onnx.data").unlink()
    engine = EmbeddedEngine(repository, threads=1, allow_untrained=True)
    await engine.start()
    (status,) = engine.models()
    await engine.close()
    assert (status.state, status.reason) == (
        State.FAILED,
        "model.onnx is not the graph that the card describes",
    )


def test_weights_that_appear_beside_a_whole_graph_are_found(tmp_path):
    (card,) = make("wide", tmp_path, max_file_bytes=10**6)
    entry(tmp_path).check_graph(card)
    (version_folder(tmp_path) / "model.onnx.data").write_bytes(b"strange")
    with pytest.raises(ArtefactError, match="is not the graph"):
        entry(tmp_path).check_graph(card)


def test_each_part_has_weights_of_its_own(tmp_path):
    cards = make("two", tmp_path)
    assert [card.name for card in cards] == ["two.left", "two.right"]
    folders = [version_folder(tmp_path, card.name) for card in cards]
    assert [card.model_sha256 for card in cards] == [sums(folder) for folder in folders]
    left, right = ((folder / "model.onnx.data").read_bytes() for folder in folders)
    assert left != right


def test_a_graph_that_disagrees_leaves_neither_file(tmp_path):
    with pytest.raises(VerificationError, match="disagrees"):
        make("liar", tmp_path / "models")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


KILLED = """
import os, signal, sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from kokeshi.export import artefact
spec = spec_from_file_location("large", sys.argv[1])
large = module_from_spec(spec)
spec.loader.exec_module(large)
def die(*moved):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(artefact, sys.argv[3], die)
large.make("wide", Path(sys.argv[2]))
"""


@pytest.mark.parametrize(("at", "published"), [("_mark_complete", False), ("_carry_through", True)])
def test_a_kill_leaves_both_files_or_none(at, published, tmp_path):
    repository = tmp_path / "models"
    command = [sys.executable, "-c", KILLED, __file__, str(repository), at]
    child = subprocess.run(command, capture_output=True, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert list(repository.iterdir()) == []
    settle(repository)
    assert [path.name for path in tmp_path.iterdir()] == ["models"]
    assert [path.name for path in repository.iterdir()] == (["wide"] if published else [])
    if published:
        found = entry(repository)
        found.check_graph(found.card())

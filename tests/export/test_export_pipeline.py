import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kokeshi.card import UNTRAINED, Card, Threshold
from kokeshi.contract import ImageInput, Meaning, Output, TextInput
from kokeshi.engines.config import card_from, from_pbtxt
from kokeshi.errors import ArtefactError, PluginError, VerificationError, WeightsError
from kokeshi.export import export
from kokeshi.plugin import Checkpoint, Method, Options, Paper, Part, Recipe
from kokeshi.registry import Registry

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.export
nn = torch.nn
torch.set_num_threads(2)

PAPER = Paper("On Dolls within Dolls", "A. Turner", 2020, "https://example.org/dolls")
SIZE = 16


class Trunk(nn.Module):
    def __init__(self, classes=3, dim=8):
        super().__init__()
        self.conv = nn.Conv2d(3, dim, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(dim)
        self.head = nn.Linear(dim, classes)

    def features(self, x):
        return nn.functional.gelu(self.norm(self.conv(x)))


class Classify(nn.Module):
    def __init__(self, trunk):
        super().__init__()
        self.trunk = trunk

    def forward(self, x):
        pooled = self.trunk.features(x).mean((2, 3))
        unit = nn.functional.normalize(pooled, dim=1)
        return self.trunk.head(pooled).softmax(1), unit


class Segment(nn.Module):
    def __init__(self, trunk):
        super().__init__()
        self.trunk = trunk

    def forward(self, x):
        scores = self.trunk.head(self.trunk.features(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        full = nn.functional.interpolate(scores, size=x.shape[-2:], mode="bilinear")
        return (full.argmax(1), full.sigmoid()[:, 0])


class ReadText(nn.Module):
    def __init__(self, table):
        super().__init__()
        self.table = table

    def forward(self, ids):
        return (nn.functional.normalize(self.table(ids).mean(1), dim=1),)


class Wrong(nn.Module):
    """Leaves out what its base does, but only in the graph."""

    def __init__(self, trunk):
        super().__init__()
        self.honest = Classify(trunk)

    def forward(self, x):
        return self.honest(-x if torch.compiler.is_exporting() else x)


class FixedBatch(nn.Module):
    def forward(self, x):
        rows = x.reshape(2, -1, 8).mean(1)
        return (nn.functional.normalize(rows, dim=1),)


class NotNormal(nn.Module):
    def forward(self, x):
        return (x.mean((2, 3)).exp(),)


class Points(nn.Module):
    """Points of the ball of radius 2: by the exponential map at its centre, or outside of it."""

    def __init__(self, is_inside):
        super().__init__()
        self.is_inside = is_inside

    def forward(self, x):
        tangent = x.mean((2, 3))
        length = tangent.norm(dim=1, keepdim=True).clamp(min=1e-6)
        radius = 2 * (length / 2).tanh() if self.is_inside else 2 + length
        return (radius * tangent / length,)


IMAGE = ImageInput(height=SIZE, width=SIZE)
PROBABILITIES = Output(name="probabilities", meaning=Meaning.PROBABILITIES, shape=(3,))
NESTED = Output(name="embedding", meaning=Meaning.EMBEDDING, shape=(8,), dimensions=(2, 4, 8))


def build_classifier(options: Options) -> Recipe:
    classes, dim = options.shapes.get("head.weight", (options.classes or 3, 8))
    trunk = Trunk(classes, dim)
    outputs = (PROBABILITIES.model_copy(update={"shape": (classes,)}), NESTED)
    size = options.image_size or SIZE
    contract = ImageInput(height=size, width=size)
    labels = ("ash", "birch", "cherry") if classes == 3 else ()
    return Recipe(trunk, (Part(Classify(trunk), contract, outputs),), labels)


def build_segmenter(options: Options) -> Recipe:
    trunk = Trunk()
    outputs = (
        Output(name="label_map", meaning=Meaning.LABEL_MAP, shape=(SIZE, SIZE)),
        Output(name="foreground", meaning=Meaning.FOREGROUND, shape=(SIZE, SIZE)),
    )
    return Recipe(trunk, (Part(Segment(trunk), IMAGE, outputs),), ("sky", "sea", "land"))


def build_pair(options: Options) -> Recipe:
    network = nn.ModuleDict({"image": Trunk(), "text": nn.Embedding(30, 8)})
    network.register_parameter("logit_scale", nn.Parameter(torch.tensor(2.0)))
    words = {f"w{index}": index for index in range(30)}
    pre = {"type": "WhitespaceSplit"}
    model = {"type": "WordLevel", "vocab": words, "unk_token": "w0"}
    tokenizer = json.dumps({"version": "1.0", "model": model, "pre_tokenizer": pre}).encode()
    text = Part(
        ReadText(network["text"]),
        TextInput(context_length=6, end_id=29),
        (NESTED,),
        role="text",
        files={"tokenizer.json": tokenizer},
    )
    outputs = (PROBABILITIES, NESTED)
    image = Part(Classify(network["image"]), IMAGE, outputs, role="image")
    return Recipe(network, (image, text), logit_scale_key="logit_scale")


def build_wrong(options: Options) -> Recipe:
    trunk = Trunk()
    return Recipe(trunk, (Part(Wrong(trunk), IMAGE, (PROBABILITIES, NESTED)),))


def build_half_wrong(options: Options) -> Recipe:
    """The first part is right, the second is not."""
    trunk = Trunk()
    right = Part(Classify(trunk), IMAGE, (PROBABILITIES, NESTED), role="right")
    return Recipe(trunk, (right, Part(Wrong(trunk), IMAGE, (PROBABILITIES, NESTED), role="wrong")))


def build_fixed(options: Options) -> Recipe:
    module = FixedBatch()
    return Recipe(module, (Part(module, IMAGE, (NESTED,)),))


def build_unnormalised(options: Options) -> Recipe:
    module = NotNormal()
    output = Output(name="embedding", meaning=Meaning.EMBEDDING, shape=(3,), normalised=False)
    promised = output.model_copy(update={"normalised": options.variant == "promises_norm"})
    return Recipe(module, (Part(module, IMAGE, (promised,)),))


def build_points(options: Options) -> Recipe:
    module = Points(options.variant == "points")
    how = {"metric": "hyperbolic", "curvature": 0.25, "normalised": False}
    output = Output(name="point", meaning=Meaning.EMBEDDING, shape=(3,), **how)
    return Recipe(module, (Part(module, IMAGE, (output,)),))


def build_misdeclared(options: Options) -> Recipe:
    trunk = Trunk()
    short = Output(name="embedding", meaning=Meaning.EMBEDDING, shape=(6,))
    return Recipe(trunk, (Part(Classify(trunk), IMAGE, (PROBABILITIES, short)),))


def build_crash(options: Options) -> Recipe:
    raise ValueError("no such depth")


def strip_module(state):
    return {name.removeprefix("module."): value for name, value in state.items()}


def method(name, build, *variants, convert=dict):
    return Method(name, PAPER, "MIT", variants or (name,), build, convert=convert)


PLUGINS = (
    method("toy", build_classifier, "toy_small", convert=strip_module),
    method("segmenter", build_segmenter),
    method("pair", build_pair),
    method("wrong", build_wrong),
    method("half_wrong", build_half_wrong),
    method("fixed", build_fixed),
    method("unnormalised", build_unnormalised, "plain_length", "promises_norm"),
    method("points", build_points, "points", "points_outside"),
    method("misdeclared", build_misdeclared),
    method("crash", build_crash),
    Checkpoint("toy_on_trees", PAPER, "toy", "toy_small", "the authors' page", "CC-BY-4.0"),
)
REGISTRY = Registry.of(("toys", plugin) for plugin in PLUGINS)


def make(name, repository, **options) -> list[Card]:
    if "weights" not in options:
        options["untrained"] = True
    return export(name, repository=repository, registry=REGISTRY, **options)


def tree(repository: Path) -> dict[str, str]:
    """Every file beside and inside a repository with its digest: to see that nothing changed."""
    return {
        str(path.relative_to(repository.parent)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(repository.parent.rglob("*"))
        if path.is_file()
    }


def run(repository: Path, card: Card, rows):
    import onnxruntime

    path = repository / card.name / str(card.version) / "model.onnx"
    return onnxruntime.InferenceSession(path).run(None, {card.input.name: rows})


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A repository with a classifier, and the stages of its export."""
    repository = tmp_path_factory.mktemp("served") / "models"
    stages = []
    (card,) = make(
        "toy_small", repository, on_progress=lambda stage, done: stages.append((stage, done))
    )
    return repository, card, stages


def test_a_model_folder_says_everything(served):
    repository, card, _ = served
    folder = repository / "toy_small"
    assert sorted(entry.name for entry in folder.iterdir()) == ["1", "config.pbtxt", "labels.txt"]
    assert (folder / "labels.txt").read_text() == "ash\nbirch\ncherry\n"
    assert card_from(from_pbtxt((folder / "config.pbtxt").read_text())) == card
    assert Card.model_validate_json((folder / "1/card.json").read_text()) == card
    digest = hashlib.sha256((folder / "1/model.onnx").read_bytes()).hexdigest()
    assert card.model_sha256 == digest
    assert card.checkpoint.source == UNTRAINED
    assert card.paper.url == PAPER.url
    assert {"kokeshi", "torch", "onnx", "onnxruntime"} <= set(card.exported_by)
    assert [entry.name for entry in repository.parent.iterdir()] == ["models"]


def test_the_card_tells_what_was_compared(served):
    _, card, _ = served
    assert (card.parity.images, card.parity.noise, card.parity.batch_sizes) == (8, 8, (1, 2, 5))
    measures = {(found.output, found.measure) for found in card.parity.agreements}
    expected = {("probabilities", "max absolute difference"), ("embedding", "min cosine")}
    assert measures == expected
    differences = {found.output: found.worst for found in card.parity.agreements}
    assert 0 <= differences["probabilities"] < 1e-5
    assert differences["embedding"] > 0.999999


def test_the_graph_takes_any_batch_of_uint8_images_and_normalises_them(served):
    repository, card, _ = served
    random = np.random.default_rng(1)
    rows = random.integers(0, 256, (7, SIZE, SIZE, 3), dtype=np.uint8)
    probabilities, embedding = run(repository, card, rows)
    recipe = seeded(build_classifier)
    mean = torch.tensor(IMAGE.mean).view(3, 1, 1)
    std = torch.tensor(IMAGE.std).view(3, 1, 1)
    pixels = (torch.from_numpy(rows).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.inference_mode():
        expected = recipe.parts[0].module.eval()(pixels)
    np.testing.assert_allclose(probabilities, expected[0], atol=1e-5)
    np.testing.assert_allclose(embedding, expected[1], atol=1e-5)


def seeded(build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build(Options("toy_small"))


def test_progress_names_the_stages_in_order(served):
    _, _, stages = served
    order = list(dict.fromkeys(stage for stage, _ in stages))
    assert order == ["weights", "build", "graph main", "verify main", "publish"]
    assert all(0 <= done <= 1 for _, done in stages)
    assert ("verify main", 1.0) in stages


def test_the_graph_holds_no_path_of_the_machine_that_made_it(served):
    repository, card, _ = served
    graph = (repository / card.name / "1/model.onnx").read_bytes()
    assert str(Path(__file__).parent).encode() not in graph
    assert b"stack_trace" not in graph


def test_a_second_export_is_a_second_version_with_the_tuning_kept(served, tmp_path):
    repository = tmp_path / "models"
    make("toy_small", repository, model_name="m")
    before = tree(repository)
    config = repository / "m/config.pbtxt"
    config.write_text(config.read_text() + "\ninstance_group [{ count: 3 }]\n")
    (card,) = make("toy_small", repository, model_name="m", image_size=24)
    assert card.version == 2
    assert card_from(from_pbtxt(config.read_text())) == card
    assert from_pbtxt(config.read_text()).instance_group[0].count == 3
    assert from_pbtxt(config.read_text()).input[0].dims == (24, 24, 3)
    old = {name: digest for name, digest in before.items() if "/1/" in name}
    assert old.items() <= tree(repository).items()
    assert Card.model_validate_json((repository / "m/1/card.json").read_text()).version == 1


def test_the_same_weights_give_the_same_space_in_every_export_and_soon(served, tmp_path):
    _, card, _ = served
    started_s = time.process_time()
    (again,) = make("toy_small", tmp_path / "models", model_name="other")
    assert time.process_time() - started_s < 10  # seconds of CPU, with the libraries imported
    assert again.space == card.space


def test_a_segmenter_gives_maps(tmp_path):
    (card,) = make("segmenter", tmp_path)
    labels, foreground = run(tmp_path, card, np.zeros((3, SIZE, SIZE, 3), np.uint8))
    assert (labels.shape, labels.dtype) == ((3, SIZE, SIZE), np.uint8)
    assert (foreground.shape, foreground.dtype) == ((3, SIZE, SIZE), np.float32)
    shares = {found.output: found for found in card.parity.agreements}
    assert shares["label_map"].measure == "min share of equal pixels"
    assert shares["label_map"].worst >= 0.999


def test_parts_are_published_together_and_share_a_space(tmp_path):
    image, text = make("pair", tmp_path)
    assert (image.name, text.name) == ("pair.image", "pair.text")
    assert image.parts == text.parts == {"image": "pair.image", "text": "pair.text"}
    assert image.space == text.space
    assert image.model_sha256 != text.model_sha256
    assert text.logit_scale == pytest.approx(np.exp(2))
    tokenizer = (tmp_path / "pair.text/tokenizer.json").read_bytes()
    assert text.input.tokenizer_sha256 == hashlib.sha256(tokenizer).hexdigest()
    assert text.parity.images == 8
    (vectors,) = run(tmp_path, text, np.ones((4, 6), np.int64))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_an_unnormalised_embedding_is_compared_by_length_as_well(tmp_path):
    (card,) = make("plain_length", tmp_path)
    assert [found.measure for found in card.parity.agreements] == [
        "min cosine",
        "max relative difference",
    ]


def test_thresholds_and_given_labels_reach_the_card(tmp_path):
    threshold = Threshold(
        dimension=8,
        similarity=0.5,
        false_match_rate=0.01,
        false_non_match_rate=0.02,
        calibrated_on="pairs",
    )
    labels = ("a", "b", "c", "d")
    (card,) = make("toy_small", tmp_path, labels=labels, thresholds=(threshold,), max_batch_size=4)
    assert (card.labels, card.thresholds) == (labels, (threshold,))
    assert card.outputs[0].shape == (4,)
    assert from_pbtxt((tmp_path / "toy_small/config.pbtxt").read_text()).max_batch_size == 4


def test_points_of_a_ball_are_compared_by_their_distance_and_told_with_its_curvature(tmp_path):
    (card,) = make("points", tmp_path / "models")
    (output,) = card.outputs
    assert (output.metric, output.curvature, output.normalised) == ("hyperbolic", 0.25, False)
    assert [found.measure for found in card.parity.agreements] == ["max hyperbolic distance"]
    assert 0 <= card.parity.agreements[0].worst < 1e-4


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("wrong", VerificationError, r"'probabilities' disagrees.*bound is 0.0001, on 'astronaut'"),
        ("half_wrong", VerificationError, "disagrees with PyTorch"),
        ("fixed", VerificationError, r"\[2, 8\].*\['batch', 8\]"),
        ("promises_norm", VerificationError, "'embedding' breaks its promise: a row has norm"),
        ("points_outside", VerificationError, r"at 1\.\d+ of the ball's radius, not within"),
        ("misdeclared", VerificationError, r"\(6,\)|6\]"),
        ("crash", PluginError, "'crash' cannot be built: ValueError: no such depth"),
        ("toy_smal", PluginError, "did you mean 'toy_small'"),
    ],
)
def test_what_fails_leaves_nothing_behind(name, error, words, tmp_path):
    repository = tmp_path / "models"
    with pytest.raises(error, match=words):
        make(name, repository)
    assert tree(repository) == {}
    assert not repository.exists() or not list(repository.iterdir())


@pytest.mark.parametrize("stage", ["weights", "build", "graph main", "verify main", "publish"])
def test_an_exception_at_any_stage_leaves_the_repository_untouched(stage, tmp_path, served):
    repository = tmp_path / "models"
    repository.mkdir()

    def fail(reached, done):
        if reached == stage and done < 1:
            raise InterruptedError(stage)

    with pytest.raises(InterruptedError):
        make("toy_small", repository, on_progress=fail)
    assert [path.name for path in tmp_path.rglob("*")] == ["models"]


def test_a_killed_export_is_cleared_away_by_the_next(tmp_path):
    repository = tmp_path / "models"
    child = subprocess.run(
        [sys.executable, "-c", KILLED, __file__, str(repository)], capture_output=True, check=False
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert list(repository.iterdir()) == []
    assert len(list(tmp_path.iterdir())) == 2  # the staging folder is left, hidden
    (card,) = make("toy_small", repository)
    assert card.version == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["models"]


KILLED = """
import os, signal, sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
spec = spec_from_file_location("toys", sys.argv[1])
toys = module_from_spec(spec)
spec.loader.exec_module(toys)
def die(stage, done):
    if stage == "graph main":
        os.kill(os.getpid(), signal.SIGKILL)
toys.make("toy_small", Path(sys.argv[2]), on_progress=die)
"""


def test_a_checkpoint_is_loaded_converted_and_named(tmp_path):
    trunk = Trunk(classes=5)
    path = tmp_path / "trees.pth"
    state = {f"module.{name}": value for name, value in trunk.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, path)
    (card,) = make("toy_on_trees", tmp_path / "models", weights=path)
    assert card.checkpoint.source == "trees.pth"
    assert card.checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert card.checkpoint.licence == "CC-BY-4.0"
    assert (card.name, card.method) == ("toy_on_trees", "toy")
    options = {"weights": path, "weights_licence": "CC0-1.0"}
    (plain,) = make("toy_small", tmp_path / "models", **options)
    assert plain.checkpoint.licence == "CC0-1.0"
    assert plain.space == card.space
    rows = np.random.default_rng(2).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    probabilities, _ = run(tmp_path / "models", card, rows)
    assert probabilities.shape == (2, 5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"untrained": False, "weights": None}, "needs weights.*the authors' page"),
        ({"weights": "pretrained"}, "cannot be fetched; get the file from the authors' page"),
        ({"weights": "nowhere.pth"}, "is no file, no https address"),
        ({"weights": "nowhere.pth", "untrained": True}, "choose one"),
    ],
)
def test_without_weights_it_says_what_to_pass(options, words, tmp_path):
    with pytest.raises(WeightsError, match=words):
        make("toy_on_trees", tmp_path, **options)


def test_labels_have_to_match_the_classes(tmp_path):
    path = tmp_path / "five.pth"
    torch.save(Trunk(classes=5).state_dict(), path)
    with pytest.raises(ArtefactError, match="has 5 classes, 2 labels were given"):
        make("toy_small", tmp_path / "models", weights=path, labels=("a", "b"))
    with pytest.raises(ArtefactError, match="one line of text"):
        make("toy_small", tmp_path / "models", labels=("a", "b\nc"))


def test_a_foreign_model_folder_is_not_touched(tmp_path):
    (tmp_path / "models/toy_small/1").mkdir(parents=True)
    (tmp_path / "models/toy_small/config.pbtxt").write_text('name: "toy_small"\n')
    before = tree(tmp_path / "models")
    with pytest.raises(ArtefactError, match="cannot read"):
        make("toy_small", tmp_path / "models")
    assert tree(tmp_path / "models") == before


@pytest.mark.parametrize("name", ["../evil", "", "Upper", ".hidden", "a.b"])
def test_a_model_name_is_a_plain_folder_name(name, tmp_path):
    with pytest.raises(ArtefactError, match="lower-case"):
        make("toy_small", tmp_path, model_name=name)


def test_the_exporter_is_imported_without_torch():
    code = "import sys, kokeshi.export, kokeshi.export.conformance; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_repository_is_readable_by_others(served):
    repository, card, _ = served
    mask = os.umask(0)
    os.umask(mask)
    assert (repository / card.name).stat().st_mode & 0o777 == 0o777 & ~mask

"""A small real repository, and a service on it, for every test that needs answers.

The graphs are written by hand, so that right answers can be read off the pixels: `colours` says how
red, green or blue a picture is.
"""

import io
import json
import os
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image as Picture
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from kokeshi.card import Agreement, Card, CheckpointCard, PaperCard, Parity, Threshold, space_of
from kokeshi.contract import ImageInput, Interpolation, Meaning, Output, Resize, TextInput
from kokeshi.engines.config import config_for, to_pbtxt
from kokeshi.engines.embedded import EmbeddedEngine
from kokeshi.engines.triton.install import install
from kokeshi.engines.triton.installation import Installation
from kokeshi.errors import SetupError
from kokeshi.images import ImagePool
from kokeshi.index import EmbeddedStore
from kokeshi.service import Service
from kokeshi.service.types import Limits

PIXELS = 8
COLOURS = ("red", "green", "blue")
CONTRACT = ImageInput(
    height=PIXELS, width=PIXELS, resize=Resize.SQUASH, interpolation=Interpolation.BILINEAR
)
WORDS = {"[PAD]": 0, "<s>": 1, "</s>": 2, "red": 3, "green": 4, "blue": 5, "[UNK]": 6}


def _graph(nodes, inputs, outputs, constants):
    initialisers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _image_input():
    shape = ["N", PIXELS, PIXELS, 3]
    return helper.make_tensor_value_info("image", TensorProto.UINT8, shape)


def _float_output(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])


def _mean_colour():
    """Nodes: `mean` is (N, 3), the mean colour in [0, 1]."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "white"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled", "axes"], ["mean"], keepdims=0),
    ]
    return nodes, {"white": np.float32(255), "axes": np.array([1, 2], np.int64)}


def _colours():
    """Softmax over ten times the mean colour; embedding (4,) = (r, g, b, 0.5) made unit."""
    nodes, constants = _mean_colour()
    nodes += [
        helper.make_node("Mul", ["mean", "ten"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        *_unit_colour(),
    ]
    constants |= {"ten": np.float32(10), **_PADDING}
    outputs = [_float_output("probabilities", 3), _float_output("embedding", 4)]
    return _graph(nodes, [_image_input()], outputs, constants)


_PADDING = {"pads": np.array([0, 0, 0, 1], np.int64), "half": np.float32(0.5)}


def _unit_colour():
    return [
        helper.make_node("Pad", ["mean", "pads", "half"], ["longer"]),
        helper.make_node("LpNormalization", ["longer"], ["embedding"], axis=1, p=2),
    ]


def _tags():
    nodes, constants = _mean_colour()
    nodes += [helper.make_node("Identity", ["mean"], ["scores"])]
    return _graph(nodes, [_image_input()], [_float_output("scores", 3)], constants)


def _regions():
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["float"], ["classes"], axis=3, keepdims=0),
        helper.make_node("Cast", ["classes"], ["label_map"], to=TensorProto.UINT8),
    ]
    shape = ["N", PIXELS, PIXELS]
    output = helper.make_tensor_value_info("label_map", TensorProto.UINT8, shape)
    return _graph(nodes, [_image_input()], [output], {})


def _glow():
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "white"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled", "axes"], ["foreground"], keepdims=0),
    ]
    constants = {"white": np.float32(255), "axes": np.array([3], np.int64)}
    return _graph(nodes, [_image_input()], [_float_output("foreground", PIXELS, PIXELS)], constants)


def _pair_image():
    nodes, constants = _mean_colour()
    nodes += _unit_colour()
    outputs = [_float_output("embedding", 4)]
    return _graph(nodes, [_image_input()], outputs, constants | _PADDING)


def _pair_text():
    """The mean of one-hot words: "red" lies where red pictures lie."""
    table = np.zeros((len(WORDS), 4), np.float32)
    for row, word in enumerate(COLOURS):
        table[WORDS[word], row] = 1
    table[WORDS["<s>"], 3] = 0.25
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["rows"], axis=0),
        helper.make_node("ReduceSum", ["rows", "axes"], ["sum"], keepdims=0),
        helper.make_node("LpNormalization", ["sum"], ["embedding"], axis=1, p=2),
    ]
    tokens = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["N", 8])
    constants = {"table": table, "axes": np.array([1], np.int64)}
    return _graph(nodes, [tokens], [_float_output("embedding", 4)], constants)


def _tokenizer() -> bytes:
    tokenizer = Tokenizer(WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    marks = [(mark, WORDS[mark]) for mark in ("<s>", "</s>")]
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=marks)
    return tokenizer.to_str().encode()


def _write(repository: Path, name: str, graph: bytes, outputs, files=(), **fields):
    digest = sha256(graph).hexdigest()
    contract = fields.pop("input", CONTRACT)
    card = Card(
        name=name,
        version=1,
        method="by_hand",
        paper=PaperCard(title="By hand", authors="A", year=2026, url="https://example.org"),
        checkpoint=CheckpointCard(source="by hand", sha256="0" * 64, licence="Apache-2.0"),
        model_sha256=digest,
        space=fields.pop("space", space_of([(digest, contract)])),
        input=contract,
        outputs=tuple(outputs),
        parity=Parity(
            reference="by hand",
            images=1,
            noise=1,
            batch_sizes=(1,),
            agreements=(Agreement(output=outputs[0].name, measure="exact", worst=0, bound=0),),
        ),
        exported_by={"onnx": onnx.__version__},
        **fields,
    )
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(graph)
    (folder / "config.pbtxt").write_text(to_pbtxt(config_for(card)))
    if card.labels:
        (folder / "labels.txt").write_text("".join(f"{label}\n" for label in card.labels))
    for file, data in files:
        (folder / file).write_bytes(data)


def write_repository(repository: Path) -> Path:
    """Writes the tiny models: colours, tags, regions, glow, pair.image and pair.text."""
    embedding = Output(
        name="embedding", meaning=Meaning.EMBEDDING, shape=(4,), dimensions=(2, 3, 4)
    )
    probabilities = Output(name="probabilities", meaning=Meaning.PROBABILITIES, shape=(3,))
    threshold = Threshold(
        dimension=4,
        similarity=0.9,
        false_match_rate=0.01,
        false_non_match_rate=0.02,
        calibrated_on="nothing",
    )
    _write(
        repository,
        "colours",
        _colours(),
        [probabilities, embedding],
        labels=COLOURS,
        thresholds=(threshold,),
    )
    scores = Output(name="scores", meaning=Meaning.SCORES, shape=(3,))
    _write(repository, "tags", _tags(), [scores], labels=COLOURS)
    label_map = Output(name="label_map", meaning=Meaning.LABEL_MAP, shape=(PIXELS, PIXELS))
    _write(repository, "regions", _regions(), [label_map], labels=COLOURS)
    foreground = Output(name="foreground", meaning=Meaning.FOREGROUND, shape=(PIXELS, PIXELS))
    _write(repository, "glow", _glow(), [foreground])
    _write_pair(repository)
    return repository


def _write_pair(repository: Path) -> None:
    tokenizer = _tokenizer()
    text = TextInput(
        context_length=8,
        tokenizer_sha256=sha256(tokenizer).hexdigest(),
        end_id=WORDS["</s>"],
    )
    embedding = Output(name="embedding", meaning=Meaning.EMBEDDING, shape=(4,))
    image_graph, text_graph = _pair_image(), _pair_text()
    digests = [sha256(graph).hexdigest() for graph in (image_graph, text_graph)]
    shared = {
        "space": space_of(zip(digests, (CONTRACT, text), strict=True)),
        "parts": {"image": "pair.image", "text": "pair.text"},
        "logit_scale": 10.0,
    }
    _write(repository, "pair.image", image_graph, [embedding], role="image", **shared)
    _write(
        repository,
        "pair.text",
        text_graph,
        [embedding],
        [("tokenizer.json", tokenizer)],
        role="text",
        input=text,
        **shared,
    )


def picture(colour: str | tuple[int, int, int], size=(20, 10), format="PNG") -> bytes:
    """An encoded picture of one colour, `size` is (width, height)."""
    buffer = io.BytesIO()
    Picture.new("RGB", size, colour).save(buffer, format)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def tiny_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of tiny models; never written to after it was made."""
    return write_repository(tmp_path_factory.mktemp("models"))


@pytest.fixture
def make_picture() -> Callable[..., bytes]:
    """`picture`."""
    return picture


@pytest.fixture
async def service(tiny_repository: Path, tmp_path: Path) -> AsyncIterator[Service]:
    """A started service on the tiny models and an empty data directory."""
    engine = EmbeddedEngine(tiny_repository, threads=1)
    made = Service(engine, ImagePool(2), EmbeddedStore(tmp_path / "data"), Limits())
    await made.start()
    failed = {info.name: info.reason for info in made.models() if info.reason}
    assert not failed, json.dumps(failed)
    yield made
    await made.close()


@pytest.fixture(scope="session")
def tritonserver(request: pytest.FixtureRequest) -> Installation:
    """That of the wheel, in the folder that KOKESHI_TEST_TRITON names or in pytest's cache."""
    named = os.environ.get("KOKESHI_TEST_TRITON")
    folder = Path(named) if named else request.config.cache.mkdir("triton")
    try:
        wheel = install(folder)
    except SetupError as error:
        if "CI" in os.environ:  # there it must not go untested in silence
            raise
        pytest.skip(f"no tritonserver: {error}")
    return Installation(Path(wheel.program), wheel)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-tables", action="store_true", help="rewrite tables in docs/ from the answers"
    )

"""CLIP against the authors' code (golden figures), against open_clip (live) and as ONNX graphs."""

import io
import json
import pickle
import subprocess
import sys
import unicodedata
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kokeshi.contract import ImageInput, Interpolation, Resize, TextInput
from kokeshi.errors import SetupError, WeightsError
from kokeshi.plugin import Options, Recipe
from kokeshi.text import TextEncoder, repair
from kokeshi_plugins.dual_encoders import CHECKPOINTS, CLIP, clip_archive
from kokeshi_plugins.dual_encoders.clip import MEAN, STD
from kokeshi_plugins.dual_encoders.clip_tokenizer import END_ID, tokenizer_json

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")

pytestmark = pytest.mark.export
TINY = ("tiny_vit", "tiny_rn")
RTOL, ATOL = 1e-4, 1e-5  # of unit vectors and of logits below 3


@pytest.fixture(scope="module")
def golden(keyed) -> dict:
    return keyed.read_golden("clip")


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(tokenizer_json(77), TextInput(context_length=77, end_id=END_ID))


@pytest.fixture(scope="module")
def authors_tokenizer():
    return open_clip.get_tokenizer("ViT-B-32")


def build(case: dict, **changes: object) -> Recipe:
    return CLIP.build(Options(case["variant"], settings=case["settings"] | changes))


def published(keyed, recipe: Recipe, golden: dict, case: dict) -> dict:
    """Weights as the authors publish them: halves, with three sizes among them."""
    shapes = {name: tuple(x.shape) for name, x in recipe.network.state_dict().items()}
    state = keyed.keyed_state(shapes, golden["seed"], case["gain"])
    state = {name: x.half() if x.is_floating_point() else x for name, x in state.items()}
    sizes = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    return state | {name: torch.tensor(size) for name, size in sizes.items()}


@pytest.fixture(scope="module", params=TINY)
def case(request, golden) -> dict:
    return golden["cases"][request.param]


@pytest.fixture(scope="module")
def loaded(keyed, golden, case, tmp_path_factory) -> Recipe:
    """Ours with the weights of a file in the authors' format."""
    recipe = build(case)
    path = tmp_path_factory.mktemp("clip") / "weights.pt"
    torch.save(published(keyed, recipe, golden, case), path)
    state = torch.load(path, weights_only=True)
    recipe.network.load_state_dict(CLIP.convert(state), strict=True)
    return recipe


@pytest.fixture(scope="module")
def images(keyed, golden, loaded):
    side = loaded.parts[0].input.height
    return keyed.keyed_input(3, side, side, golden["seed"], mean=MEAN, std=STD)


@pytest.fixture(scope="module")
def tokens(golden, encoder):
    return torch.from_numpy(encoder.encode(golden["texts"]))


def outputs(recipe: Recipe, images, tokens) -> dict:
    """Both unit embeddings and the logits that the recipe's scale makes of them."""
    with torch.inference_mode():
        (image,), (text,) = recipe.parts[0].module(images), recipe.parts[1].module(tokens)
        scale = recipe.network.state_dict()[recipe.logit_scale_key].exp()
        return {"image": image, "text": text, "logits": scale * image @ text.T}


def test_both_towers_and_the_logits_are_the_authors(keyed, case, loaded, images, tokens):
    for name, found in outputs(loaded, images, tokens).items():
        keyed.assert_figures(found, case["figures"][name], RTOL, ATOL)


def test_the_golden_figures_tell_the_wrong_activation(keyed, golden, case, images, tokens):
    recipe = build(case, quick_gelu=False)
    recipe.network.load_state_dict(CLIP.convert(published(keyed, recipe, golden, case)))
    found = outputs(recipe, images, tokens)["text"]
    with pytest.raises(AssertionError):
        keyed.assert_figures(found, case["figures"]["text"], RTOL, ATOL)


def test_open_clip_itself_gives_the_same(case, loaded, images, tokens, tmp_path):
    name = {"clip_vit_b_32": "ViT-B-32", "clip_rn50": "RN50"}[case["variant"]]
    config = open_clip.get_model_config(name)
    wishes = case["settings"]
    config = config | {"embed_dim": wishes["embed_dim"], "quick_gelu": True}
    config["vision_cfg"] |= wishes["vision_cfg"]
    config["text_cfg"] |= wishes["text_cfg"]
    (tmp_path / "tiny.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny.json")
    theirs = open_clip.create_model("tiny", pretrained=None).eval()
    theirs.load_state_dict(loaded.network.state_dict())
    ours = outputs(loaded, images, tokens)
    with torch.inference_mode():
        image = theirs.encode_image(images, normalize=True)
        text = theirs.encode_text(tokens, normalize=True)
    torch.testing.assert_close(ours["image"], image, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours["text"], text, rtol=0, atol=1e-6)


def random_tokens(count: int):
    tokens = torch.zeros(count, 77, dtype=torch.int64)
    generator = torch.Generator().manual_seed(count)
    for row in tokens:
        length = int(torch.randint(2, 77, (1,), generator=generator))
        row[:length] = torch.randint(1, END_ID - 1, (length,), generator=generator)
        row[0], row[length] = END_ID - 1, END_ID
    return tokens


@pytest.mark.filterwarnings("ignore")  # torch's exporter warns of its own code
def test_each_tower_agrees_as_a_graph_with_a_free_batch(keyed, case, loaded):
    onnxruntime = pytest.importorskip("onnxruntime")
    # the text towers of the two cases are one and the same
    for part in loaded.parts if case["variant"] == "clip_vit_b_32" else loaded.parts[:1]:
        side = getattr(part.input, "height", None)

        def batch(count, side=side):
            return keyed.keyed_input(count, side, side, count) if side else random_tokens(count)

        program = torch.onnx.export(
            part.module,
            (batch(2),),
            dynamo=True,
            opset_version=20,
            input_names=["x"],
            output_names=["embedding"],
            dynamic_shapes={"x": {0: torch.export.Dim("batch", min=1, max=1024)}},
            verbose=False,
        )
        content = program.model_proto.SerializeToString()
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        for count in (1, 2, 5):
            with torch.inference_mode():
                (expected,) = part.module(batch(count))
            (found,) = session.run(None, {"x": batch(count).numpy()})
            assert found.shape == (count, *part.outputs[0].shape)
            assert (found * expected.numpy()).sum(1).min() > 0.9999
            np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("variant", "side", "dim"),
    [
        ("clip_vit_b_32", 224, 512),
        ("clip_vit_b_16", 224, 512),
        ("clip_vit_l_14", 224, 768),
        ("clip_vit_l_14_336", 336, 768),
        ("clip_rn50", 224, 1024),
        ("clip_rn101", 224, 512),
        ("clip_rn50x4", 288, 640),
        ("clip_rn50x16", 384, 768),
        ("clip_rn50x64", 448, 1024),
    ],
)
def test_a_variant_keeps_the_authors_contract(variant, side, dim):
    with torch.device("meta"):
        recipe = CLIP.build(Options(variant))
    image, text = recipe.parts
    assert image.input == ImageInput(
        height=side,
        width=side,
        resize=Resize.SHORTEST,
        resize_size=side,
        interpolation=Interpolation.BICUBIC,
        mean=MEAN,
        std=STD,
    )
    assert text.input == TextInput(context_length=77, pad_id=0, end_id=49407)
    assert (image.role, text.role) == ("image", "text")
    for part in recipe.parts:
        assert part.outputs[0].shape == (dim,)
        assert part.outputs[0].normalised


def test_every_variant_is_checked_above_and_has_openais_weights():
    assert {c.variant for c in CHECKPOINTS if c.name.endswith("_openai")} == set(CLIP.variants)
    assert len(CLIP.variants) == 9


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda checkpoint: checkpoint.name)
def test_a_checkpoint_is_what_open_clip_knows_of_it(checkpoint):
    repository = checkpoint.source.partition(":")[0]
    model = {v.lower().replace("-", "_"): v for v in open_clip.list_models()}[
        checkpoint.variant[5:]
    ]
    tags = open_clip.list_pretrained_tags_by_model(model)
    known = [open_clip.get_pretrained_cfg(model, tag) for tag in tags]
    (found,) = [cfg for cfg in known if cfg.get("hf_hub", "").rstrip("/") == repository]
    wishes = checkpoint.settings
    assert found.get("quick_gelu", False) == wishes.get("quick_gelu", True)
    assert (wishes.get("mean", MEAN), wishes.get("std", STD)) == (found["mean"], found["std"])
    assert (found["interpolation"], found["resize_mode"]) == ("bicubic", "shortest")


def test_a_checkpoints_settings_reach_contract_and_network():
    (checkpoint,) = [c for c in CHECKPOINTS if c.name == "clip_vit_l_14_laion2b"]
    with torch.device("meta"):
        recipe = CLIP.build(Options(checkpoint.variant, settings=checkpoint.settings))
    assert recipe.parts[0].input.mean == (0.5, 0.5, 0.5)
    kinds = {type(module).__name__ for module in recipe.network.modules()}
    assert "GELU" in kinds
    assert "QuickGELU" not in kinds


@pytest.mark.parametrize(
    ("variant", "table", "rows", "side"),
    [
        ("clip_vit_b_32", "visual.positional_embedding", 7 * 7 + 1, 224),
        ("clip_vit_b_16", "visual.positional_embedding", 20 * 20 + 1, 320),
        ("clip_rn50", "visual.attnpool.positional_embedding", 9 * 9 + 1, 288),
    ],
)
def test_the_image_size_is_the_one_the_weights_were_learnt_for(variant, table, rows, side):
    with torch.device("meta"):
        recipe = CLIP.build(Options(variant, shapes={table: (rows, 64)}))
        larger = CLIP.build(Options(variant, shapes={table: (rows, 64)}, image_size=side + 32))
    assert recipe.parts[0].input.height == side
    assert recipe.network.state_dict()[table].shape[0] == rows
    assert larger.parts[0].input.height == side + 32


def test_an_image_size_that_patches_do_not_tile_is_refused():
    with pytest.raises(SetupError, match=r"'clip_rn50' takes .* a multiple of 32, got 230"):
        CLIP.build(Options("clip_rn50", image_size=230))


def test_a_layer_makes_an_image_model_alone(golden):
    case = golden["cases"]["tiny_vit"]
    layer = "visual.transformer.resblocks.0"
    options = Options(case["variant"], settings=case["settings"], embedding_layer=layer)
    (part,) = CLIP.build(options).parts
    (found,) = part.module(torch.randn(2, 3, 64, 64))
    assert part.outputs[0].shape == (128,)
    assert found.shape == (2, 128)


def test_the_text_tower_holds_no_image_weights(loaded):
    tower = loaded.parts[1].module
    count = sum(x.numel() for x in tower.parameters())
    held = sum(x.numel() for x in loaded.network.parameters())
    seen = sum(x.numel() for x in loaded.network.visual.parameters())
    assert count == held - seen - 1  # the logit scale is in no tower


def test_convert_unwraps_parallel_training_and_widens_halves(golden):
    state = {
        "module.visual.conv1.weight": torch.ones(2, dtype=torch.float16),
        "module.token_embedding.weight": torch.ones(2),
        "module.logit_scale": torch.ones(1),
        "module.visual.bn1.num_batches_tracked": torch.tensor(3),
        "module.vocab_size": torch.tensor(49408),
    }
    found = CLIP.convert(state)
    assert found["visual.conv1.weight"].dtype == torch.float32
    assert found["visual.bn1.num_batches_tracked"].dtype == torch.int64
    assert found["logit_scale"].shape == ()
    assert "vocab_size" not in found


def test_weights_of_another_kind_are_refused_by_name():
    with pytest.raises(WeightsError, match=r"'visual.conv1.weight', got 1 tensors such as text_m"):
        CLIP.convert({"text_model.embeddings.token_embedding.weight": torch.ones(2)})


def nested(state: dict) -> "torch.nn.Module":
    """A module whose state dict is `state`."""
    root = torch.nn.Module()
    for name, tensor in state.items():
        *path, leaf = name.split(".")
        owner = root
        for step in path:
            if not hasattr(owner, step):
                owner.add_module(step, torch.nn.Module())
            owner = getattr(owner, step)
        owner.register_buffer(leaf, tensor)
    return root


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_the_authors_torchscript_file_is_read_without_running_it(
    keyed, golden, case, tmp_path, monkeypatch
):
    from safetensors.torch import load_file

    recipe = build(case)
    state = published(keyed, recipe, golden, case)
    archive, output = tmp_path / "ViT.pt", tmp_path / "ViT.safetensors"
    torch.jit.script(nested(state)).save(str(archive))
    monkeypatch.setattr(sys, "argv", ["clip_archive", str(archive), str(output)])
    clip_archive.main()
    found = load_file(output)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)
    recipe.network.load_state_dict(CLIP.convert(found), strict=True)


class Hostile:
    def __reduce__(self):
        return (Path.touch, (Path("touched"),))


@pytest.mark.parametrize("content", [pickle.dumps(Hostile()), b"\x80\x02cos\nsystem\n.", b""])
def test_an_archive_that_holds_more_than_weights_is_refused(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ZipFile("hostile.pt", "w") as archive:
        archive.writestr("hostile/data.pkl", content)
    with pytest.raises(WeightsError, match=r"of 'hostile.pt' are not readable"):
        clip_archive.read_archive(Path("hostile.pt"))
    assert not Path("touched").exists()


@pytest.mark.parametrize("content", [b"", b"not a zip"])
def test_a_file_that_is_no_archive_is_refused(content, tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"'weights.pt' is not a TorchScript archive"):
        clip_archive.read_archive(path)


def test_a_storage_shorter_than_its_tensor_is_refused(tmp_path):
    path = tmp_path / "short.pt"
    with io.BytesIO() as buffer:
        buffer.write(b"\x80\x02c__torch__\nM\n)\x81}X\x01\x00\x00\x00wctorch._utils\n")
        buffer.write(b"_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n")
        buffer.write(b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQK\x00K\x09\x85K\x01\x85")
        buffer.write(b"\x89NtRsb.")
        content = buffer.getvalue()
    with ZipFile(path, "w") as archive:
        archive.writestr("short/data.pkl", content)
        archive.writestr("short/data/0", bytes(8))
    with pytest.raises(WeightsError, match=r"of 'short.pt' are not readable"):
        clip_archive.read_archive(path)


CORPUS = (
    "A photo of a cat",
    "it's we'LL I've they'd you're 'S '\u017f don''t '' 's's",
    "1234567890 3.14 ½ ² Ⅷ ٣ 12,345.67",
    "snake_case __init__ a-b c/d <html> [x] {y} \\ | ~ ` ^",
    "naïve café ÅÄÖ ß ẞ œ Ł đ \u0131 İstanbul e\u0301 n\u0303",
    "ΟΔΟΣ ΣΑΣ Σ ΑΣ' ὈΔΥΣΣΕΎΣ ᾳ",
    "Привет, мир! ЁЖ iota\u0345subscript !\u0345!",
    "日本語のテキスト 中文 한국어 ไทย हिन्दी العربية עברית",
    "🙂👩\u200d👩\u200d👧 🇩🇪 👍🏽 ☃️",
    "&amp; &lt;b&gt; &amp;amp;eacute; &#x41; &#128512; &nbsp; &notanentity;",
    "“curly” \u2018quotes\u2019 \u2013 \u2014 … ﬁne ﬂag \uff26\uff55\uff4c\uff4c",
    "sÃ³ Ã© â€œbadâ€\u009d",
    "tab\tnew\nline\r\n  many   spaces \u00a0\u3000\u2028\x1c\x85 \u200b \ufeff",
    "\x00control\x07 \x1b[31mred\x1b[0m",
    "\ud83d\ude42 pair, \ud800 alone",
    "aaaaaaaa abababab zzzzzzzzzzzzzzzzzzzzz pneumonoultramicroscopicsilicovolcanoconiosis",
    "word " * 300,
    "x" * 3000,
    "漢" * 500,
    "! " * 75,
    "a " * 74,
    "a " * 75,
    "a " * 76,
)


@pytest.mark.parametrize("text", CORPUS)
def test_every_token_is_open_clips(encoder, authors_tokenizer, text):
    np.testing.assert_array_equal(encoder.encode([text]), authors_tokenizer([text]).numpy())


def test_every_token_is_the_authors(golden, encoder):
    for row, expected in zip(encoder.encode(golden["texts"]), golden["tokens"], strict=True):
        assert row.tolist() == expected + [0] * (77 - len(expected))


def test_the_empty_text_is_two_control_tokens_as_open_clip_has_it(authors_tokenizer):
    from tokenizers import Tokenizer

    found = Tokenizer.from_str(tokenizer_json(77).decode()).encode("").ids
    assert found == authors_tokenizer([""])[0].tolist()


def test_a_control_token_spelt_out_is_text(encoder):
    (row,) = encoder.encode(["a cat <end_of_text> a dog <|endoftext|>"])
    assert np.flatnonzero(row == END_ID).tolist() == [np.flatnonzero(row)[-1]]


def older_than_the_libraries(text: str) -> bool:
    """Letters that Python's own Unicode tables know, all libraries here know."""
    return all(unicodedata.category(character) != "Cn" for character in text)


LETTERS = st.characters(exclude_categories=("Cs", "Cn"))
PIECES = st.sampled_from(
    ["'s", "'LL", "Σ", "&amp;", "&#x", "Ã©", "\u0301", "_", " ", "1", "\u017f", "İ"]
)


@settings(max_examples=500, deadline=None)
@given(st.lists(LETTERS | PIECES | st.characters(max_codepoint=0x7F), min_size=1).map("".join))
def test_any_text_has_open_clips_tokens(encoder, authors_tokenizer, text):
    assume(repair(text))
    assume(older_than_the_libraries(repair(text)))
    assume("_of_text" not in text.lower())
    np.testing.assert_array_equal(encoder.encode([text]), authors_tokenizer([text]).numpy())


def test_the_records_need_no_torch():
    code = (
        "import sys, kokeshi_plugins.dual_encoders as found; assert found.PLUGINS; "
        "sys.exit(bool({'torch', 'open_clip', 'tokenizers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

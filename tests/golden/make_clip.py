"""Writes clip.json: runs the authors' CLIP beside ours, with the same weights and the same inputs.

    python tests/golden/make_clip.py CHECKOUT_OF_OPENAI_CLIP

The checkout is https://github.com/openai/CLIP at the commit named below. Its `build_model` and
`SimpleTokenizer` run unchanged; the weights go to both as the authors publish them, in half
precision and with the three sizes among the weights.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import torch
from keyed import figures, keyed_input, keyed_state, write_golden
from torch import Tensor

from kokeshi.plugin import Options, Recipe
from kokeshi_plugins.dual_encoders.clip import CLIP, MEAN, STD

COMMIT = "d05afc436d78f1c48dc0dbf8e5980a9d471f35f6"
SEED = 227
LENGTH = 77
TEXTS = (
    "a photo of a cat",
    "It's the DOG'S dinner, isn't it? 1234 &amp; 5.6 &eacute;",
    "naïve café, “quoted” \u2013 fi: ﬁne; sÃ³ 🙂👩‍👩‍👧 日本語 ΟΔΟΣ snake_case",
    "a very long sentence that goes on and on " * 20,
)
TINY_TEXT = {"width": 64, "heads": 1, "layers": 2}
CASES = {
    "tiny_vit": {
        "variant": "clip_vit_b_32",
        "gain": 1.0,
        "settings": {
            "embed_dim": 32,
            "vision_cfg": {"width": 128, "layers": 2, "patch_size": 16, "image_size": 64},
            "text_cfg": TINY_TEXT,
        },
    },
    "tiny_rn": {
        "variant": "clip_rn50",
        "gain": 2.0,
        "settings": {
            "embed_dim": 32,
            "vision_cfg": {"width": 16, "layers": [1, 2, 1, 1], "image_size": 64},
            "text_cfg": TINY_TEXT,
        },
    },
}
# Compared side by side when this runs; too large to be made again by every test run.
FULL_SIZE = {
    "vit_b_32": {"variant": "clip_vit_b_32", "gain": 1.0, "settings": {}},
    "rn50": {"variant": "clip_rn50", "gain": 2.0, "settings": {}},
}


def module_at(path: Path) -> ModuleType:
    spec = spec_from_file_location(path.stem, path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def published(recipe: Recipe, gain: float) -> dict[str, Tensor]:
    """Weights of the recipe's network in the authors' format."""
    found = recipe.network.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    state = {
        name: x.half() if x.is_floating_point() else x
        for name, x in keyed_state(shapes, SEED, gain).items()
    }
    sizes = {"input_resolution": 224, "context_length": LENGTH, "vocab_size": 49408}
    return state | {name: torch.tensor(size) for name, size in sizes.items()}


def authors_tokens(checkout: Path) -> list[list[int]]:
    """As the authors' `tokenize(texts, truncate=True)`, without the padding."""
    tokenizer = module_at(checkout / "clip/simple_tokenizer.py").SimpleTokenizer()
    start, end = (tokenizer.encoder[f"<|{name}oftext|>"] for name in ("start", "end"))
    return [[start, *tokenizer.encode(text)[: LENGTH - 2], end] for text in TEXTS]


def embeddings(recipe: Recipe, images: Tensor, tokens: Tensor) -> dict[str, Tensor]:
    image, text = (part.module for part in recipe.parts)
    return {"image": image(images)[0], "text": text(tokens)[0]}


def compare(model: ModuleType, case: dict, tokens: Tensor) -> dict:
    options = Options(case["variant"], settings=case["settings"])
    recipe = CLIP.build(options)
    state = published(recipe, case["gain"])
    recipe.network.load_state_dict(CLIP.convert(state))
    images = keyed_input(3, *[recipe.parts[0].input.height] * 2, SEED, mean=MEAN, std=STD)
    ours = embeddings(recipe, images, tokens)
    scale = recipe.network.logit_scale.exp()
    ours["logits"] = scale * ours["image"] @ ours["text"].T

    authors = model.build_model(dict(state)).float()
    theirs = {"image": authors.encode_image(images), "text": authors.encode_text(tokens)}
    theirs = {name: x / x.norm(dim=1, keepdim=True) for name, x in theirs.items()}
    theirs["logits"] = authors(images, tokens)[0]
    worst = {name: (ours[name] - theirs[name]).abs().max().item() for name in ours}
    return {**case, "figures": {k: figures(x) for k, x in theirs.items()}, "worst": worst}


def main() -> None:
    checkout = Path(sys.argv[1])
    torch.set_num_threads(2)
    rows = authors_tokens(checkout)
    tokens = torch.tensor([row + [0] * (LENGTH - len(row)) for row in rows])
    model = module_at(checkout / "clip/model.py")
    with torch.inference_mode():
        cases = {name: compare(model, case, tokens) for name, case in CASES.items()}
        full = {name: compare(model, case, tokens)["worst"] for name, case in FULL_SIZE.items()}
    content = {
        "method": "clip",
        "reference": {"repository": "openai/CLIP", "commit": COMMIT, "class": "clip.model.CLIP"},
        "seed": SEED,
        "input": "3 images of keyed_input (a photograph, then noise); the texts below",
        "texts": TEXTS,
        "tokens": rows,
        "cases": cases,
        "worst_at_full_size": full,
    }
    write_golden("clip", content)


if __name__ == "__main__":
    main()

"""Writes mae.json and mae_finetuned.json: the figures of the authors' own code on timm 0.3.2.

python tests/golden/make_mae.py CHECKOUT TIMM
CHECKOUT: a clone of https://github.com/facebookresearch/mae at the commit below.
TIMM: a directory with timm 0.3.2, which the authors ask for
    (pip install --no-deps --target TIMM timm==0.3.2).

Two processes, because two versions of timm cannot be imported into one: the first runs theirs.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import torch
from keyed import keyed_input, keyed_state, write_comparison

COMMIT = "efb2a8062c206524e35e47d04501ed4f544c0ae8"
SEED = 11
READ_OUTS = {"mae": False, "mae_finetuned": True}  # -> the authors' global_pool


def run_theirs(checkout, timm, name, target):
    sys.path[:0] = [timm, checkout]
    # Old timm wants a module that torch no longer has.
    six = sys.modules["torch._six"] = ModuleType("torch._six")
    six.container_abcs = type("container_abcs", (), {"Iterable": Iterable})
    import timm as imported
    from models_vit import vit_base_patch16

    assert imported.__version__ == "0.3.2"
    network = vit_base_patch16(num_classes=1000, global_pool=READ_OUTS[name])
    shapes = {key: tensor.shape for key, tensor in network.state_dict().items()}
    network.load_state_dict(keyed_state(shapes, SEED))
    images = keyed_input(2, 224, 224, 0)
    with torch.inference_mode():
        network.eval()
        features = network.forward_features(images)
        outputs = {"embedding": torch.nn.functional.normalize(features)}
        if READ_OUTS[name]:
            outputs["probabilities"] = network(images).softmax(1)
    torch.save({"shapes": {key: tuple(shape) for key, shape in shapes.items()}, **outputs}, target)


def run_ours(name, shapes):
    from kokeshi.plugin import Options
    from kokeshi_plugins.embedders.mae import CHECKPOINTS
    from kokeshi_plugins.embedders.vit import build

    checkpoint = next(c for c in CHECKPOINTS if c.name == f"{name}_vit_base_patch16")

    published = keyed_state(shapes, SEED)
    if not READ_OUTS[name]:  # the pre-training files hold no classifier
        published = {key: value for key, value in published.items() if key[:5] != "head."}
    state = checkpoint.convert(published)
    kept = {key: tuple(tensor.shape) for key, tensor in state.items()}
    options = Options(variant=checkpoint.variant, shapes=kept, settings=checkpoint.settings)
    recipe = build(options)
    recipe.network.load_state_dict(state)
    part = recipe.parts[0]
    with torch.inference_mode():
        outputs = part.module.eval()(keyed_input(2, 224, 224, 0))
    return {output.name: tensor for output, tensor in zip(part.outputs, outputs, strict=True)}


def main(checkout, timm):
    for name in READ_OUTS:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "theirs.pt"
            subprocess.run([sys.executable, __file__, checkout, timm, name, target], check=True)
            wanted = torch.load(target, weights_only=True)
        found = run_ours(name, wanted.pop("shapes"))
        write_comparison(
            name,
            wanted,
            found,
            method="vit",
            reference={
                "repository": "facebookresearch/mae",
                "commit": COMMIT,
                "class": "models_vit.vit_base_patch16 on timm 0.3.2",
            },
            seed=SEED,
            input="keyed_input(2, 224, 224, 0)",
        )


if __name__ == "__main__":
    (run_theirs if len(sys.argv) > 3 else main)(*sys.argv[1:])

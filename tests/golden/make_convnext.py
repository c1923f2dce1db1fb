"""Writes convnext.json: the figures of the authors' own code.

python tests/golden/make_convnext.py CHECKOUT
CHECKOUT: a clone of https://github.com/facebookresearch/ConvNeXt at the commit below.
"""

import sys

import timm.models.registry
import torch
from keyed import figures, keyed_input, keyed_state, write_golden

from kokeshi.plugin import Options
from kokeshi_plugins.backbones.convnext import METHOD

COMMIT = "048efcea897d999aed302f2639b6270aedf8d4c8"
SEED = 11
INPUT = "keyed_input(2, 224, 224, 0)"


def reference(models, variant):
    network = getattr(models, variant)(**({"in_22k": True} if "xlarge" in variant else {}))
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict(keyed_state(shapes, SEED, gain=1.0))
    return network.eval(), shapes


def ours(variant, published):
    state = METHOD.convert(published)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    recipe = METHOD.build(Options(variant=variant, shapes=shapes))
    recipe.network.load_state_dict(state)
    return recipe.parts[0].module.eval()


def side_by_side(models, variant, images):
    theirs, shapes = reference(models, variant)
    with torch.inference_mode():
        wanted = {
            "probabilities": theirs(images).softmax(1),
            "embedding": torch.nn.functional.normalize(theirs.forward_features(images)),
        }
        found = dict(zip(wanted, ours(variant, theirs.state_dict())(images), strict=True))
    worst = {key: (found[key] - wanted[key]).abs().max().item() for key in wanted}
    print(variant, worst, flush=True)
    return shapes, wanted, worst


def main(checkout):
    sys.path.insert(0, checkout)
    # Their module registers its networks in timm under timm's own names: ours would become theirs.
    timm.models.registry.register_model = lambda build: build
    from models import convnext as models

    images = keyed_input(2, 224, 224, 0)
    found = {variant: side_by_side(models, variant, images) for variant in METHOD.variants}
    shapes, wanted, _ = found["convnext_tiny"]
    write_golden(
        "convnext",
        {
            "method": "convnext",
            "variant": "convnext_tiny",
            "reference": {
                "repository": "facebookresearch/ConvNeXt",
                "commit": COMMIT,
                "class": "models.convnext.ConvNeXt",
            },
            "seed": SEED,
            "gain": 1.0,
            "input": INPUT,
            "container": "model",
            "published": {name: "x".join(map(str, shape)) for name, shape in shapes.items()},
            "figures": {key: figures(tensor) for key, tensor in wanted.items()},
            "worst_difference": {variant: worst for variant, (_, _, worst) in found.items()},
        },
    )


if __name__ == "__main__":
    main(*sys.argv[1:])

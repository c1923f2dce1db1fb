"""Writes swin.json: the figures of the authors' own code.

python tests/golden/make_swin.py CHECKOUT
CHECKOUT: a clone of https://github.com/microsoft/Swin-Transformer at the commit below.
"""

import sys

import torch
from keyed import figures, keyed_input, keyed_state, write_golden

from kokeshi.plugin import Options
from kokeshi_plugins.backbones.swin import METHOD

COMMIT = "f82860bfb5225915aca09c3227159ee9e1df874d"
SEED = 12
INPUT = "keyed_input(2, 224, 224, 0)"
COMPUTED = ("relative_position_index", "attn_mask")
# Of their configs/swin: width, blocks of the third stage, heads of the first, pixels, window.
SIZES = {
    "swin_tiny": (96, 6, 3, 224, 7),
    "swin_small": (96, 18, 3, 224, 7),
    "swin_base": (128, 18, 4, 224, 7),
    "swin_large": (192, 18, 6, 224, 7),
    "swin_base_384": (128, 18, 4, 384, 12),
    "swin_large_384": (192, 18, 6, 384, 12),
}


def reference(build, variant):
    width, depth, heads, pixels, window = SIZES[variant]
    network = build(
        img_size=pixels,
        embed_dim=width,
        depths=[2, 2, depth, 2],
        num_heads=[heads, 2 * heads, 4 * heads, 8 * heads],
        window_size=window,
        drop_path_rate=0.0,
    )
    state = network.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    learnt = {name: shape for name, shape in shapes.items() if not name.endswith(COMPUTED)}
    network.load_state_dict(state | keyed_state(learnt, SEED, gain=1.0))
    return network.eval(), shapes


def ours(variant, published):
    state = METHOD.convert(published)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    recipe = METHOD.build(Options(variant=variant, shapes=shapes))
    recipe.network.load_state_dict(state)
    return recipe.parts[0].module.eval()


def side_by_side(build, variant):
    theirs, shapes = reference(build, variant)
    pixels = SIZES[variant][3]
    images = keyed_input(2, pixels, pixels, 0)
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
    # The file alone: the package beside it wants fused kernels and more.
    sys.path.insert(0, f"{checkout}/models")
    from swin_transformer import SwinTransformer

    found = {variant: side_by_side(SwinTransformer, variant) for variant in METHOD.variants}
    shapes, wanted, _ = found["swin_tiny"]
    write_golden(
        "swin",
        {
            "method": "swin",
            "variant": "swin_tiny",
            "reference": {
                "repository": "microsoft/Swin-Transformer",
                "commit": COMMIT,
                "class": "models.swin_transformer.SwinTransformer",
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

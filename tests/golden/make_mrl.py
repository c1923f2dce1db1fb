"""Writes mrl.json and mrl_e.json: the figures of the authors' own code.

python tests/golden/make_mrl.py CHECKOUT
CHECKOUT: a clone of https://github.com/RAIVNLab/MRL at the commit below.
"""

import sys
from types import ModuleType

import torch
from keyed import keyed_input, keyed_state, write_comparison
from torch import nn
from torchvision.models import resnet50

from kokeshi.plugin import Options
from kokeshi_plugins.embedders.mrl import build, convert

COMMIT = "7ccb42df6be05f3d21d0648aa03099bba46386bf"
SEED = 251
LENGTHS = [2**i for i in range(3, 12)]


def import_theirs(checkout):
    """Imports their modules; of what utils.py wants besides, its networks use nothing."""
    sys.path.insert(0, checkout)
    names = sys.modules["imagenet_id"] = ModuleType("imagenet_id")
    for subset in "aor":
        setattr(names, f"indices_in_1k_{subset}", None)
    import MRL
    import utils

    return MRL, utils


def filled(network):
    """Every parameter by its published name; blur filters are constants."""
    state = network.state_dict()
    learnt = {name: tensor.shape for name, tensor in state.items() if "blur_filter" not in name}
    keyed = keyed_state({f"module.{name}": shape for name, shape in learnt.items()}, SEED, gain=1.0)
    state |= {name.removeprefix("module."): tensor for name, tensor in keyed.items()}
    network.load_state_dict(state)
    return network.eval()


def run_theirs(network, images):
    embedding = []
    network.avgpool.register_forward_hook(lambda _m, _i, output: embedding.append(output))
    *shorter, full = [logits.softmax(1) for logits in network(images)]
    found = {"probabilities": full, "embedding": nn.functional.normalize(embedding[0].flatten(1))}
    return found | {
        f"probabilities_{length}": tensor
        for length, tensor in zip(LENGTHS[:-1], shorter, strict=True)
    }


def run_ours(published, images):
    state = convert(published)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    recipe = build(Options(variant="resnet50_mrl", shapes=shapes))
    recipe.network.load_state_dict(state)
    part = recipe.parts[0]
    outputs = part.module.eval()(images)
    return {output.name: tensor for output, tensor in zip(part.outputs, outputs, strict=True)}


def main(checkout):
    theirs, utils = import_theirs(checkout)
    heads = {
        "mrl": ("MRL.MRL_Linear_Layer", theirs.MRL_Linear_Layer(LENGTHS)),
        "mrl_e": ("utils.SingleHeadNestedLinear", utils.SingleHeadNestedLinear(LENGTHS)),
    }
    images = keyed_input(2, 224, 224, 0)
    for name, (head_class, head) in heads.items():
        network = resnet50()
        network.fc = head
        utils.apply_blurpool(network)
        filled(network)
        published = {f"module.{key}": value for key, value in network.state_dict().items()}
        with torch.inference_mode():
            wanted, found = run_theirs(network, images), run_ours(published, images)
        write_comparison(
            name,
            wanted,
            found,
            method="mrl",
            reference={
                "repository": "RAIVNLab/MRL",
                "commit": COMMIT,
                "class": f"torchvision resnet50, {head_class}, utils.apply_blurpool",
            },
            seed=SEED,
            input="keyed_input(2, 224, 224, 0)",
        )


if __name__ == "__main__":
    main(*sys.argv[1:])

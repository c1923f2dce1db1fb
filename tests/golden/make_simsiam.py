"""Writes simsiam.json and simsiam_linear.json: the figures of the authors' own code.

python tests/golden/make_simsiam.py CHECKOUT
CHECKOUT: a clone of https://github.com/facebookresearch/simsiam at the commit below.
"""

import sys

import torch
from keyed import keyed_input, keyed_state, write_comparison
from torch import nn
from torchvision.models import resnet50

from kokeshi.plugin import Options
from kokeshi_plugins.embedders.resnet import build, convert
from kokeshi_plugins.embedders.simsiam import convert_encoder

COMMIT = "a7bc1772896d0dad0806c51f0bb6f3b16d290468"
SEED = 1


class Parallel(nn.Module):
    """Names parameters as DistributedDataParallel does, with 'module.' before them."""

    def __init__(self, module):
        super().__init__()
        self.module = module


def filled(network):
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    network.load_state_dict(keyed_state(shapes, SEED, gain=1.0))
    return network.eval()


def ours(state, settings):
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    recipe = build(Options(variant="resnet50", shapes=shapes, settings=settings))
    recipe.network.load_state_dict(state)
    return recipe.parts[0].module.eval()


def write(name, reference, wanted, found):
    write_comparison(
        name,
        wanted,
        found,
        method="resnet",
        reference={"repository": "facebookresearch/simsiam", "commit": COMMIT, "class": reference},
        seed=SEED,
        input="keyed_input(2, 224, 224, 0)",
    )


def main(checkout):
    sys.path.insert(0, checkout)
    from simsiam.builder import SimSiam

    images = keyed_input(2, 224, 224, 0)
    with torch.inference_mode():
        theirs = filled(Parallel(SimSiam(resnet50)))
        state = convert_encoder(theirs.state_dict())
        (embedding,) = ours(state, {"classifier": False})(images)
        encoder = theirs.module.encoder
        encoder.fc = nn.Identity()
        wanted = {"embedding": nn.functional.normalize(encoder(images))}
        write("simsiam", "simsiam.builder.SimSiam", wanted, {"embedding": embedding})

        probe = filled(Parallel(resnet50()))  # as main_lincls.py builds it
        probabilities, _ = ours(convert(probe.state_dict()), {})(images)
        wanted = {"probabilities": probe.module(images).softmax(1)}
        found = {"probabilities": probabilities}
        write("simsiam_linear", "torchvision resnet50, as in main_lincls.py", wanted, found)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Writes triplet.json: the figures of the authors' layer list, transcribed to PyTorch.

python tests/golden/make_triplet.py

The authors' code is Lua for Torch7 and was not run. The reference is a second transcription of
Models/Model.lua (https://github.com/eladhoffer/TripletNet at the commit below), layer by layer and
with its dropout, that shares nothing with the served network.
"""

import torch
from keyed import keyed_input, keyed_state, write_comparison
from torch import nn

from kokeshi.plugin import Options
from kokeshi_plugins.embedders.triplet import build, convert

COMMIT = "98d80f5953daaf0325f07c57b142c1e5de5850df"
SEED = 6
STATISTICS = {"mean": (0.4734,) * 3, "std": (0.2516,) * 3}


def transcription():
    """Torch7's layers, numbered as there; Torch7 pools with floor, as PyTorch does."""
    layers = []
    for channels_in, channels_out, side in ((3, 64, 5), (64, 128, 3), (128, 256, 3)):
        layers += [nn.Conv2d(channels_in, channels_out, side), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2, 2), nn.Dropout(0.25)]
    return nn.Sequential(*layers, nn.Conv2d(256, 128, 2), nn.ReLU(), nn.Flatten()).eval()


def main():
    reference = transcription()
    shapes = {name: tensor.shape for name, tensor in reference.state_dict().items()}
    reference.load_state_dict(keyed_state(shapes, SEED))
    # Torch7's getParameters: weight and bias of layer after layer, in one vector.
    flat = torch.cat([parameter.flatten() for parameter in reference.parameters()])
    recipe = build(Options(variant="triplet"))
    recipe.network.load_state_dict(convert({"weights": flat.detach()}))
    images = keyed_input(4, 32, 32, 0, **STATISTICS)
    with torch.inference_mode():
        wanted = reference(images)
        (found,) = recipe.parts[0].module.eval()(images)
    write_comparison(
        "triplet",
        {"embedding": wanted},
        {"embedding": found},
        method="triplet",
        reference={
            "repository": "eladhoffer/TripletNet",
            "commit": COMMIT,
            "class": "nn.Sequential transcribed from Models/Model.lua; the Lua was not run",
        },
        seed=SEED,
        input="keyed_input(4, 32, 32, 0), mean 0.4734, deviation 0.2516",
    )


if __name__ == "__main__":
    main()

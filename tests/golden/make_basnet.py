"""Writes basnet.json: the figures of the authors' own code, with their test script's arithmetic.

python tests/golden/make_basnet.py CHECKOUT
CHECKOUT: a clone of https://github.com/xuebinqin/BASNet at the commit below.
"""

import sys

import torch
import torchvision
from keyed import figures, keyed_input, keyed_state, write_golden

from kokeshi.plugin import Options
from kokeshi_plugins.segmenters.basnet import METHOD

COMMIT = "56393818e239fed5a81d06d2a1abfe02af33e461"
SEED = 13
INPUT = "keyed_input(2, SIZE, SIZE, 0) with mean 0 and deviation 1, clamped to [0, 0.9]"
SIZES = (64, 256)  # pixels; the golden figures are of the first


def image(size):
    """In [0, 0.9], so that dividing by the image's own maximum changes something."""
    raw = keyed_input(2, size, size, 0, mean=(0, 0, 0), std=(1, 1, 1))
    return raw.clamp(0, 0.9)


def authors(network, images):
    """As basnet_test.py and data_loader.ToTensorLab do it, one image at a time."""
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    maps = []
    for picture in images.split(1):
        refined = network((picture / picture.max() - mean) / deviation)[0][:, 0]
        maps.append((refined - refined.min()) / (refined.max() - refined.min()))
    return torch.cat(maps)


def ours(published, size):
    recipe = METHOD.build(Options(variant="basnet", image_size=size))
    recipe.network.load_state_dict(METHOD.convert(published))
    return recipe.parts[0].module.eval()


def main(checkout):
    sys.path.insert(0, checkout)
    # Their constructor downloads ImageNet weights, which the file they publish overwrites.
    resnet34 = torchvision.models.resnet34
    torchvision.models.resnet34 = lambda **_: resnet34(weights=None)
    from model.BASNet import BASNet

    theirs = BASNet(3, 1).eval()
    shapes = {name: tuple(tensor.shape) for name, tensor in theirs.state_dict().items()}
    theirs.load_state_dict(keyed_state(shapes, SEED, gain=1.0))
    golden, worst = None, {}
    with torch.inference_mode():
        for size in SIZES:
            wanted = authors(theirs, image(size))
            (found,) = ours(theirs.state_dict(), size)(image(size))
            golden = wanted if golden is None else golden
            worst[f"{size} pixels"] = (found - wanted).abs().max().item()
            print(size, worst, wanted.std().item(), flush=True)
    write_golden(
        "basnet",
        {
            "method": "basnet",
            "variant": "basnet",
            "reference": {
                "repository": "xuebinqin/BASNet",
                "commit": COMMIT,
                "class": "model.BASNet",
            },
            "seed": SEED,
            "gain": 1.0,
            "input": INPUT,
            "published": {name: "x".join(map(str, shape)) for name, shape in shapes.items()},
            "figures": {"foreground": figures(golden)},
            "worst_difference": worst,
        },
    )


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Writes mobilenet_v2.json, mobilenet_v3.json, lraspp.json and off_the_shelf.json.

python tests/golden/make_off_the_shelf.py

Here the library's class is the reference: its plain forward pass, and the embedding taken by hand
from the modules that the paper names.
"""

import timm
import torch
import torchvision
from keyed import figures, keyed_input, keyed_state, write_golden
from torch.nn.functional import normalize
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

from kokeshi.plugin import Options
from kokeshi_plugins.backbones import mobilenet_v2, mobilenet_v3, off_the_shelf
from kokeshi_plugins.segmenters import lraspp

SEED = 14


def filled(network, gain):
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict(keyed_state(shapes, SEED, gain))
    return network.eval()


def ours(method, variant, published, size=None):
    state = method.convert(published)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    recipe = method.build(Options(variant=variant, shapes=shapes, image_size=size))
    recipe.network.load_state_dict(state)
    return recipe.parts[0].module.eval()


def classes_and_pooled(network, images):
    """Of a MobileNet: everything before the last layer is the embedding."""
    pooled = network.features(images).mean((2, 3))
    return {
        "probabilities": network(images).softmax(1),
        "embedding": normalize(network.classifier[:-1](pooled)),
    }


def classes_and_features(network, images):
    """Of timm's ResNet."""
    pooled = network.global_pool(network.forward_features(images))
    return {"probabilities": network(images).softmax(1), "embedding": normalize(pooled)}


def labels(network, images):
    return {"label_map": network(images)["out"].argmax(1).to(torch.uint8)}


CASES = {
    "mobilenet_v2": (
        mobilenet_v2.METHOD, "mobilenet_v2", 224, 1.5, classes_and_pooled,
        torchvision.models.mobilenet_v2,
    ),
    "mobilenet_v3": (
        mobilenet_v3.METHOD, "mobilenet_v3_large", 224, 1.3, classes_and_pooled,
        torchvision.models.mobilenet_v3_large,
    ),
    "lraspp": (
        lraspp.METHOD, "lraspp_mobilenet_v3_large", 256, 2.0, labels,
        lambda: lraspp_mobilenet_v3_large(weights=None, weights_backbone=None),
    ),
    "off_the_shelf": (
        off_the_shelf.TIMM, "resnet18.a1_in1k", 224, 1.0, classes_and_features,
        lambda: timm.create_model("resnet18"),
    ),
}  # fmt: skip


def main():
    for name, (method, variant, size, gain, read, build) in CASES.items():
        network = filled(build(), gain)
        images = keyed_input(2, size, size, 0)
        with torch.inference_mode():
            wanted = read(network, images)
            answers = ours(method, variant, network.state_dict(), size)(images)
        found = dict(zip(wanted, answers, strict=True))
        worst = {key: (found[key] * 1.0 - wanted[key]).abs().max().item() for key in wanted}
        library = timm if method is off_the_shelf.TIMM else torchvision
        kind = type(network)
        write_golden(
            name,
            {
                "method": method.name,
                "variant": variant,
                "reference": {
                    "repository": library.__name__,
                    "commit": f"version {library.__version__}",
                    "class": f"{kind.__module__}.{kind.__name__}",
                },
                "seed": SEED,
                "gain": gain,
                "input": f"keyed_input(2, {size}, {size}, 0)",
                "figures": {key: figures(tensor) for key, tensor in wanted.items()},
                "worst_difference": worst,
            },
        )
        spread = {key: wanted[key].double().std(0).mean().item() for key in wanted}
        print(name, worst, spread, flush=True)


if __name__ == "__main__":
    main()

"""ResNet: the host of every publication whose served network is a plain residual network.

Deep Residual Learning for Image Recognition (He, Zhang, Ren, Sun; CVPR 2016),
https://arxiv.org/abs/1512.03385. The network is torchvision's.
"""

from typing import TYPE_CHECKING, Final

from kokeshi.plugin import Method, Options, Paper, Recipe
from kokeshi_plugins.backbones.imagenet import classes_of, outputs_of, recipe
from kokeshi_plugins.backbones.weights import require, unwrapped
from kokeshi_plugins.embedders.contracts import IMAGENET_224, at_size

if TYPE_CHECKING:
    from torch import Tensor, nn

VARIANTS: Final = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


def residual_network(variant: str, classes: int) -> "nn.Module":
    """The network; with 0 classes its `fc` passes the pooled features on."""
    from torch import nn
    from torchvision.models import get_model

    network = get_model(variant, weights=None, num_classes=classes or 1)
    if not classes:
        network.fc = nn.Identity()
    return network.eval()


def pooled(network: "nn.Module") -> "nn.Module":
    """All of a residual network but its `fc`: (N, 3, height, width) to (N, dim)."""
    from torch import nn

    layers = [layer for name, layer in network.named_children() if name != "fc"]
    return nn.Sequential(*layers, nn.Flatten(1))


def pooled_width(network: "nn.Module") -> int:
    """Length of the pooled features: 512 with basic blocks, 2048 with bottlenecks."""
    last = network.layer4[-1]
    return getattr(last, "bn3", last.bn2).num_features


def convert(state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Accepts torchvision's names, with or without 'module.' before them.

    Raises:
        WeightsError: it is not a residual network in torchvision's names.
    """
    state = unwrapped(state)
    require(state, "torchvision ResNet", "layer1.0.conv1.weight", "layer4.0.conv1.weight")
    return state


def build(options: Options) -> Recipe:
    """The network with the embedding that feeds its classifier: 512-d or 2048-d, unit norm.

    The setting `classifier` (False) leaves the head out where no weights say so.
    """
    from kokeshi_plugins.networks.heads import ClassifyAndEmbed, Embed

    contract = at_size(options.settings.get("input", IMAGENET_224), options.image_size)
    published = 1000 if options.settings.get("classifier", True) else 0
    classes = classes_of(options, "fc.weight", published)
    network = residual_network(options.variant, classes)
    features = pooled(network)
    module = ClassifyAndEmbed(features, network.fc) if classes else Embed(features)
    outputs = outputs_of(classes, pooled_width(network))
    return recipe(network, module, contract, outputs, options)


RESNET: Final = Method(
    name="resnet",
    paper=Paper(
        title="Deep Residual Learning for Image Recognition",
        authors="He, Zhang, Ren, Sun",
        year=2016,
        url="https://arxiv.org/abs/1512.03385",
    ),
    licence="BSD-3-Clause",
    variants=VARIANTS,
    build=build,
    convert=convert,
    summary="Residual network, torchvision's; class probabilities and the pooled embedding.",
)

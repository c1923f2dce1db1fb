"""MobileNetV2: inverted residuals with linear bottlenecks, for small devices.

Sandler, Howard, Zhu, Zhmoginov, Chen: MobileNetV2: Inverted Residuals and Linear Bottlenecks
(CVPR 2018), https://arxiv.org/abs/1801.04381. The network is torchvision's (BSD-3-Clause), whose
weights take ImageNet's mean and deviation; the TensorFlow weights of the authors (values from -1
to 1, one-sided padding, 1001 classes) do not fit it.
"""

from typing import TYPE_CHECKING

from kokeshi.plugin import Checkpoint, Method, Options, Paper, Recipe

from .torchvision_classifier import contract_of, torchvision_recipe
from .weights import require, unwrapped

if TYPE_CHECKING:
    from torch import Tensor

_PAPER = Paper(
    title="MobileNetV2: Inverted Residuals and Linear Bottlenecks",
    authors="Sandler, Howard, Zhu, Zhmoginov, Chen",
    year=2018,
    url="https://arxiv.org/abs/1801.04381",
)
_FIRST, _LAST = "features.0.0.weight", "features.18.0.weight"


def build(options: Options) -> Recipe:
    """Probabilities (N, classes) and the normalised embedding (N, 1280)."""
    from torchvision.models import MobileNet_V2_Weights

    weights = MobileNet_V2_Weights[options.settings.get("recipe", "IMAGENET1K_V1")]
    contract = contract_of(weights.transforms(), options.image_size)
    return torchvision_recipe("mobilenet_v2", contract, tuple(weights.meta["categories"]), options)


def convert(state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """The names of torchvision, without what a wrapper for training put before them.

    Raises:
        WeightsError: another network's file.
    """
    state = unwrapped(state)
    require(state, "MobileNetV2", _FIRST, _LAST)
    return state


METHOD = Method(
    name="mobilenet_v2",
    paper=_PAPER,
    licence="BSD-3-Clause",
    variants=("mobilenet_v2",),
    build=build,
    rows=(440,),
    convert=convert,
    summary="Small convolutional backbone: classes and a 1280-dimensional embedding.",
)


def _checkpoint(recipe: str, file: str, top1: float, top5: float) -> Checkpoint:
    return Checkpoint(
        name=f"mobilenet_v2_{recipe.lower()}",
        paper=_PAPER,
        method="mobilenet_v2",
        variant="mobilenet_v2",
        source=f"https://download.pytorch.org/models/{file}.pth",
        licence="BSD-3-Clause",
        convert=convert,
        settings={"recipe": recipe},
        rows=(440,),
        figures={"ImageNet-1k accuracy, %": top1, "ImageNet-1k top-5 accuracy, %": top5},
        summary="torchvision's first recipe." if recipe.endswith("V1") else "Its improved recipe.",
    )


CHECKPOINTS = (
    _checkpoint("IMAGENET1K_V1", "mobilenet_v2-b0353104", 71.878, 90.286),
    _checkpoint("IMAGENET1K_V2", "mobilenet_v2-7ebf99e0", 72.154, 90.822),
)

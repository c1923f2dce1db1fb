"""MobileNetV3: a network found by search for phones, with squeeze-and-excite and h-swish.

Howard, Sandler, Chu, Chen, Chen, Tan, Wang, Zhu, Pang, Vasudevan, Le, Adam: Searching for
MobileNetV3 (ICCV 2019), https://arxiv.org/abs/1905.02244. The network is torchvision's
(BSD-3-Clause). Its embedding is what the last layer reads, after the 1x1 expansion and h-swish.
The segmenter of the paper is kokeshi_plugins.segmenters.lraspp.
"""

from typing import TYPE_CHECKING

from kokeshi.plugin import Checkpoint, Method, Options, Paper, Recipe

from .torchvision_classifier import contract_of, torchvision_recipe
from .weights import require, unwrapped

if TYPE_CHECKING:
    from torch import Tensor

_PAPER = Paper(
    title="Searching for MobileNetV3",
    authors="Howard, Sandler, Chu, Chen, Chen, Tan, Wang, Zhu, Pang, Vasudevan, Le, Adam",
    year=2019,
    url="https://arxiv.org/abs/1905.02244",
)
_FIRST, _LAST = "features.0.0.weight", "classifier.3.weight"


def build(options: Options) -> Recipe:
    """Probabilities (N, classes) and the normalised embedding, (N, 1280) large, (N, 1024) small."""
    from torchvision.models import get_model_weights

    published = get_model_weights(options.variant)
    weights = published[options.settings.get("recipe", "IMAGENET1K_V1")]
    contract = contract_of(weights.transforms(), options.image_size)
    return torchvision_recipe(options.variant, contract, tuple(weights.meta["categories"]), options)


def convert(state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """The names of torchvision, without what a wrapper for training put before them.

    Raises:
        WeightsError: another network's file.
    """
    state = unwrapped(state)
    require(state, "MobileNetV3", _FIRST, _LAST)
    return state


METHOD = Method(
    name="mobilenet_v3",
    paper=_PAPER,
    licence="BSD-3-Clause",
    variants=("mobilenet_v3_large", "mobilenet_v3_small"),
    build=build,
    rows=(458,),
    convert=convert,
    summary="Small convolutional backbone: classes and a 1280- or 1024-dimensional embedding.",
)


def _checkpoint(size: str, recipe: str, file: str, top1: float, top5: float) -> Checkpoint:
    return Checkpoint(
        name=f"mobilenet_v3_{size}_{recipe.lower()}",
        paper=_PAPER,
        method="mobilenet_v3",
        variant=f"mobilenet_v3_{size}",
        source=f"https://download.pytorch.org/models/{file}.pth",
        licence="BSD-3-Clause",
        convert=convert,
        settings={"recipe": recipe},
        rows=(458,),
        figures={"ImageNet-1k accuracy, %": top1, "ImageNet-1k top-5 accuracy, %": top5},
        summary="torchvision's first recipe." if recipe.endswith("V1") else "Its improved recipe.",
    )


CHECKPOINTS = (
    _checkpoint("large", "IMAGENET1K_V1", "mobilenet_v3_large-8738ca79", 74.042, 91.34),
    _checkpoint("large", "IMAGENET1K_V2", "mobilenet_v3_large-5c1a4163", 75.274, 92.566),
    _checkpoint("small", "IMAGENET1K_V1", "mobilenet_v3_small-047dcff4", 67.668, 87.402),
)

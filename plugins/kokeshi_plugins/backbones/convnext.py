"""ConvNeXt: a ResNet modernised step by step until it does what Swin does.

Liu, Mao, Wu, Feichtenhofer, Darrell, Xie: A ConvNet for the 2020s (CVPR 2022),
https://arxiv.org/abs/2201.03545. Code and weights: https://github.com/facebookresearch/ConvNeXt.

The network is timm's. The authors evaluate 224 pixels on the centre of a 256-pixel resize, and
from 384 pixels on they squash instead; both bicubic.
"""

import re
from typing import TYPE_CHECKING

from kokeshi.contract import ImageInput, Interpolation
from kokeshi.plugin import Checkpoint, Method, Options, Paper, Recipe

from .imagenet import centre_crop, classes_of, squash, timm_recipe
from .weights import require, unwrapped

if TYPE_CHECKING:
    from torch import Tensor

_PAPER = Paper(
    title="A ConvNet for the 2020s",
    authors="Liu, Mao, Wu, Feichtenhofer, Darrell, Xie",
    year=2022,
    url="https://arxiv.org/abs/2201.03545",
)
_SQUASHED_FROM = 384  # pixels
_RENAMES = (
    (re.compile(r"^downsample_layers\.0\."), "stem."),
    (re.compile(r"^downsample_layers\.(\d)\."), r"stages.\1.downsample."),
    (re.compile(r"^stages\.(\d)\.(\d+)\."), r"stages.\1.blocks.\2."),
    (re.compile(r"\.dwconv\."), ".conv_dw."),
    (re.compile(r"\.pwconv([12])\."), r".mlp.fc\1."),
    (re.compile(r"^norm\."), "head.norm."),
    (re.compile(r"^head\.(weight|bias)$"), r"head.fc.\1"),
)


def build(options: Options) -> Recipe:
    """Probabilities (N, classes) and the normalised embedding (N, 768 to 2048)."""
    import timm

    classes = classes_of(options, "head.fc.weight")
    network = timm.create_model(options.variant, pretrained=False, num_classes=classes)
    size = options.image_size or int(options.settings.get("image_size", 224))
    return timm_recipe(network, classes, network.num_features, contract(size), options)


def contract(size: int) -> ImageInput:
    """What the authors do to an image before a network of that many pixels."""
    if size >= _SQUASHED_FROM:
        return squash(size, Interpolation.BICUBIC)
    return centre_crop(size, 256 / 224, Interpolation.BICUBIC)


def convert(state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """From the authors' names to timm's; timm's own files pass.

    Raises:
        WeightsError: another network's file.
    """
    state = unwrapped(state)
    if "stem.0.weight" in state and "stages.0.blocks.0.conv_dw.weight" in state:
        return state
    require(state, "ConvNeXt", "downsample_layers.0.0.weight", "stages.0.0.gamma")
    return {_renamed(name): value for name, value in state.items()}


def _renamed(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = pattern.sub(replacement, name)
    return name


_SIZES = ("tiny", "small", "base", "large", "xlarge")

METHOD = Method(
    name="convnext",
    paper=_PAPER,
    licence="Apache-2.0",
    variants=tuple(f"convnext_{size}" for size in _SIZES),
    build=build,
    rows=(200,),
    convert=convert,
    summary="Modern convolutional backbone: classes and a 768- to 2048-dimensional embedding.",
)

# File at dl.fbaipublicfiles.com -> accuracy on ImageNet-1k that the README gives it, in per cent.
_PUBLISHED = {
    "convnext_tiny_1k_224_ema": 82.1,
    "convnext_small_1k_224_ema": 83.1,
    "convnext_base_1k_224_ema": 83.8,
    "convnext_base_1k_384": 85.1,
    "convnext_large_1k_224_ema": 84.3,
    "convnext_large_1k_384": 85.5,
    "convnext_tiny_22k_1k_224": 82.9,
    "convnext_tiny_22k_1k_384": 84.1,
    "convnext_small_22k_1k_224": 84.6,
    "convnext_small_22k_1k_384": 85.8,
    "convnext_base_22k_1k_224": 85.8,
    "convnext_base_22k_1k_384": 86.8,
    "convnext_large_22k_1k_224": 86.6,
    "convnext_large_22k_1k_384": 87.5,
    "convnext_xlarge_22k_1k_224_ema": 87.0,
    "convnext_xlarge_22k_1k_384_ema": 87.8,
}


def _checkpoint(file: str, accuracy: float) -> Checkpoint:
    size = 384 if "_384" in file else 224
    return Checkpoint(
        name=file,
        paper=_PAPER,
        method="convnext",
        variant="_".join(file.split("_")[:2]),
        source=f"https://dl.fbaipublicfiles.com/convnext/{file}.pth",
        licence="not stated; the repository is MIT",
        convert=convert,
        settings={"image_size": size},
        rows=(200,),
        figures={"ImageNet-1k accuracy, %": accuracy},
        summary=f"{'ImageNet-22k, then 1k' if '22k' in file else 'ImageNet-1k'} at {size} pixels.",
    )


CHECKPOINTS = tuple(_checkpoint(file, accuracy) for file, accuracy in _PUBLISHED.items())

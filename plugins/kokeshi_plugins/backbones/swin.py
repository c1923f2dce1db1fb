"""Swin: a vision transformer with attention in windows that shift from block to block.

Liu, Lin, Cao, Hu, Wei, Zhang, Lin, Guo: Swin Transformer: Hierarchical Vision Transformer using
Shifted Windows (ICCV 2021), https://arxiv.org/abs/2103.14030. Code and weights:
https://github.com/microsoft/Swin-Transformer (MIT).

The network is timm's. The authors evaluate 224 pixels on the centre of a 256-pixel resize and
squash to 384; both bicubic. timm's own contract for 224 crops less (0.9 of the side, not 0.875).
"""

import re
from typing import TYPE_CHECKING

from kokeshi.contract import ImageInput, Interpolation
from kokeshi.errors import SetupError
from kokeshi.plugin import Checkpoint, Method, Options, Paper, Recipe

from .imagenet import centre_crop, classes_of, squash, timm_recipe
from .weights import require, unwrapped

if TYPE_CHECKING:
    from torch import Tensor

_PAPER = Paper(
    title="Swin Transformer: Hierarchical Vision Transformer using Shifted Windows",
    authors="Liu, Lin, Cao, Hu, Wei, Zhang, Lin, Guo",
    year=2021,
    url="https://arxiv.org/abs/2103.14030",
)
# Variant -> (timm's name, pixels, window).
_VARIANTS = {
    **{
        f"swin_{size}": (f"swin_{size}_patch4_window7_224", 224, 7)
        for size in ("tiny", "small", "base", "large")
    },
    **{
        f"swin_{size}_384": (f"swin_{size}_patch4_window12_384", 384, 12)
        for size in ("base", "large")
    },
}
_STRIDE = 32  # of the last stage
_COMPUTED = ("relative_position_index", "attn_mask")  # buffers that follow from the sizes


def build(options: Options) -> Recipe:
    """Probabilities (N, classes) and the normalised embedding (N, 768 to 1536).

    Raises:
        SetupError: the image size does not divide into windows at every stage.
    """
    import timm

    name, published, window = _VARIANTS[options.variant]
    size = options.image_size or published
    if size % (_STRIDE * window):
        raise SetupError(
            f"the image size of {options.variant!r} must be a multiple of {_STRIDE * window}, "
            f"not {size}"
        )
    classes = classes_of(options, "head.fc.weight")
    network = timm.create_model(name, pretrained=False, num_classes=classes, img_size=size)
    contract = contract_of(options.variant, size)
    return timm_recipe(network, classes, network.num_features, contract, options)


def contract_of(variant: str, size: int) -> ImageInput:
    """What the authors do to an image: they crop for 224 pixels and squash for 384."""
    if variant.endswith("_384"):
        return squash(size, Interpolation.BICUBIC)
    return centre_crop(size, 256 / 224, Interpolation.BICUBIC)


def convert(state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """From the authors' names to timm's, without the buffers that are computed anew.

    The authors merge patches at the end of a stage, timm at the start of the next, with the same
    order of the four patches. timm's own files pass.

    Raises:
        WeightsError: another network's file.
    """
    state = {k: value for k, value in unwrapped(state).items() if not k.endswith(_COMPUTED)}
    require(state, "Swin", "layers.0.blocks.0.attn.relative_position_bias_table")
    if "layers.0.downsample.reduction.weight" not in state:
        return state
    return {_renamed(name): value for name, value in state.items()}


def _renamed(name: str) -> str:
    name = re.sub(r"^head\.(weight|bias)$", r"head.fc.\1", name)
    return re.sub(
        r"^layers\.(\d)\.downsample\.", lambda m: f"layers.{int(m[1]) + 1}.downsample.", name
    )


METHOD = Method(
    name="swin",
    paper=_PAPER,
    licence="Apache-2.0",
    variants=tuple(_VARIANTS),
    build=build,
    rows=(461,),
    convert=convert,
    summary="Transformer backbone with shifted windows: classes and a 768- to 1536-d embedding.",
)

# File of the release -> (variant, release, accuracy on ImageNet-1k in the README, top 1 and 5).
_PUBLISHED = {
    "swin_tiny_patch4_window7_224": ("swin_tiny", "v1.0.0", 81.2, 95.5),
    "swin_small_patch4_window7_224": ("swin_small", "v1.0.0", 83.2, 96.2),
    "swin_base_patch4_window7_224": ("swin_base", "v1.0.0", 83.5, 96.5),
    "swin_base_patch4_window12_384": ("swin_base_384", "v1.0.0", 84.5, 97.0),
    "swin_tiny_patch4_window7_224_22kto1k_finetune": ("swin_tiny", "v1.0.8", 80.9, 96.0),
    "swin_small_patch4_window7_224_22kto1k_finetune": ("swin_small", "v1.0.8", 83.2, 97.0),
    "swin_base_patch4_window7_224_22kto1k": ("swin_base", "v1.0.0", 85.2, 97.5),
    "swin_base_patch4_window12_384_22kto1k": ("swin_base_384", "v1.0.0", 86.4, 98.0),
    "swin_large_patch4_window7_224_22kto1k": ("swin_large", "v1.0.0", 86.3, 97.9),
    "swin_large_patch4_window12_384_22kto1k": ("swin_large_384", "v1.0.0", 87.3, 98.2),
}
_RELEASES = "https://github.com/SwinTransformer/storage/releases/download"


def _checkpoint(file: str, variant: str, release: str, top1: float, top5: float) -> Checkpoint:
    return Checkpoint(
        name=file,
        paper=_PAPER,
        method="swin",
        variant=variant,
        source=f"{_RELEASES}/{release}/{file}.pth",
        licence="MIT",
        convert=convert,
        rows=(461,),
        figures={"ImageNet-1k accuracy, %": top1, "ImageNet-1k top-5 accuracy, %": top5},
        summary="ImageNet-22k, then 1k." if "22k" in file else "ImageNet-1k.",
    )


CHECKPOINTS = tuple(_checkpoint(file, *published) for file, published in _PUBLISHED.items())

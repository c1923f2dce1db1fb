"""ViT: the host of every publication whose served network is a plain Vision Transformer.

An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale (Dosovitskiy et al.; ICLR
2021), https://arxiv.org/abs/2010.11929. The network is timm's, with one class token.
"""

from collections.abc import Mapping
from math import isqrt
from typing import TYPE_CHECKING, Final

from kokeshi.contract import ImageInput, Interpolation
from kokeshi.errors import SetupError
from kokeshi.plugin import Method, Options, Paper, Recipe
from kokeshi_plugins.backbones.imagenet import classes_of, timm_recipe
from kokeshi_plugins.backbones.weights import require, unwrapped
from kokeshi_plugins.embedders.contracts import at_size

if TYPE_CHECKING:
    from torch import Tensor

VARIANTS: Final = (
    "vit_tiny_patch16_224",
    "vit_small_patch16_224",
    "vit_base_patch16_224",
    "vit_large_patch16_224",
    "vit_huge_patch14_224",
)
NATIVE: Final = 224  # pixels; larger images are not given a margin to crop

# The ViT authors scale pixels to [-1, 1]; the margin is that of timm's evaluations.
HALF_RANGE: Final = ImageInput(
    height=NATIVE,
    width=NATIVE,
    resize_size=248,
    interpolation=Interpolation.BICUBIC,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
)


def convert(state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Accepts timm's names, with or without 'module.' before them.

    Raises:
        WeightsError: it is not a Vision Transformer in timm's names.
    """
    state = unwrapped(state)
    require(state, "timm Vision Transformer", "blocks.0.attn.qkv.weight")
    return state


def patch_size(variant: str) -> int:
    """Pixels on a side of a patch, from timm's name."""
    return int(variant.split("_")[2].removeprefix("patch"))


def _trained_size(options: Options, patch: int) -> int:
    """Pixels that the position table of the weights was made for; without weights, as asked."""
    table = options.shapes.get("pos_embed")
    if table:
        return isqrt(table[1] - 1) * patch
    return options.image_size or NATIVE


def _pool(shapes: Mapping[str, tuple[int, ...]], default: str) -> str:
    if not shapes:
        return default
    return "avg" if "fc_norm.weight" in shapes else "token"


def build(options: Options) -> Recipe:
    """The network with the embedding that feeds its classifier, unit norm.

    Weights with `fc_norm` average the patches and then norm; those with `norm` norm and then take
    the class token. At another size than the weights were trained for, timm stretches their table
    of positions (bicubic) inside the graph. Where there are no weights, the settings `pool`
    ("token") and `classifier` (True) say what to build.

    Raises:
        SetupError: the image size is no multiple of the patch's.
    """
    import timm

    settings, patch = options.settings, patch_size(options.variant)
    trained = _trained_size(options, patch)
    size = options.image_size or trained
    if size % patch:
        raise SetupError(f"expected an image size that is a multiple of {patch}, got {size}")
    published = 1000 if settings.get("classifier", True) else 0
    classes = classes_of(options, "head.weight", published)
    network = timm.create_model(
        options.variant,
        num_classes=classes,
        global_pool=_pool(options.shapes, settings.get("pool", "token")),
        img_size=trained,
        dynamic_img_size=size != trained,
    )
    contract = at_size(settings.get("input", HALF_RANGE), size, size if size > NATIVE else None)
    return timm_recipe(network, classes, network.num_features, contract, options)


VIT: Final = Method(
    name="vit",
    paper=Paper(
        title="An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
        authors="Dosovitskiy, Beyer, Kolesnikov, Weissenborn, Zhai, Unterthiner, Dehghani, "
        "Minderer, Heigold, Gelly, Uszkoreit, Houlsby",
        year=2021,
        url="https://arxiv.org/abs/2010.11929",
    ),
    licence="Apache-2.0",
    variants=VARIANTS,
    build=build,
    convert=convert,
    summary="Vision Transformer, timm's; class probabilities and what the classifier reads.",
)

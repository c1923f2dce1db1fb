"""Features off the shelf: any classifier of timm or torchvision, and any of its layers.

Razavian, Azizpour, Sullivan, Carlsson: CNN Features off-the-shelf: an Astounding Baseline for
Recognition (CVPR Workshops 2014), https://arxiv.org/abs/1403.6382. The paper's OverFeat may not be
served (its licence allows research alone), so the rule is applied to the libraries' networks:
`timm/NAME` and `torchvision/NAME`, each with the input contract of its own weights. A tag chooses
among them as in timm: `timm/resnet50.a1_in1k`, `torchvision/resnet50.IMAGENET1K_V1`.

The embedding is the normalised vector before the classifier, or the layer that the user names; the
paper's nearest neighbours and linear classifiers over it are the work of an index.
"""

from difflib import get_close_matches
from math import floor
from typing import TYPE_CHECKING, Any

from kokeshi.contract import ImageInput, Interpolation, Resize
from kokeshi.errors import SetupError
from kokeshi.plugin import Method, Options, Paper, Recipe

from .imagenet import imagenet_labels, outputs_of, recipe, timm_recipe
from .torchvision_classifier import contract_of, torchvision_recipe
from .weights import unwrapped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from timm.models import PretrainedCfg
    from torch import Tensor, nn
    from torchvision.models import WeightsEnum

_PAPER = Paper(
    title="CNN Features off-the-shelf: an Astounding Baseline for Recognition",
    authors="Razavian, Azizpour, Sullivan, Carlsson",
    year=2014,
    url="https://arxiv.org/abs/1403.6382",
)
# The towers of CLIP and its kin carry a projection where a classifier would be. None of them is
# wider, and no labelled set of the weights in timm is so small and has no names there.
_WIDEST_PROJECTION = 2048


def build_timm(options: Options) -> Recipe:
    """Probabilities and embedding of a timm network; without a classifier the latter alone.

    Raises:
        SetupError: no such network, or an input contract that the server does not know.
    """
    from kokeshi_plugins.networks.heads import Embed
    from kokeshi_plugins.networks.layers import measure
    from kokeshi_plugins.networks.off_the_shelf import PreLogits

    published = published_by_timm(options.variant)
    contract = timm_contract(published, options.image_size)
    network = _timm_network(options, published)
    if _is_projection(options, network.num_classes, published.num_classes):
        module = Embed(network)
        dim = measure(module, contract)[0][0]
        return recipe(network, module, contract, outputs_of(0, dim), options)
    dim = measure(Embed(PreLogits(network)), contract)[0][0]
    return timm_recipe(network, network.num_classes, dim, contract, options)


def published_by_timm(name: str) -> "PretrainedCfg":
    """What timm says of weights by their name, or of an architecture's own without a tag.

    Raises:
        SetupError: it has no such network or weights.
    """
    import timm
    from timm.models import get_pretrained_cfg

    architecture, _, tag = name.partition(".")
    _check_name(architecture, timm.list_models(), "timm")
    known = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in known:
        raise SetupError(f"timm has no weights {name!r}; it has {', '.join(known) or 'none'}")
    return get_pretrained_cfg(name)


def _timm_network(options: Options, published: "PretrainedCfg") -> "nn.Module":
    import timm

    settings: dict[str, Any] = {"num_classes": _timm_classes(published, options)}
    if options.image_size and published.fixed_input_size:
        settings["img_size"] = options.image_size
    return timm.create_model(options.variant, pretrained=False, **settings)


def _timm_classes(published: "PretrainedCfg", options: Options) -> int:
    """As labelled, else as the weights have (0: no classifier), else as published."""
    head = published.classifier
    if options.classes or not options.shapes or not head:
        return options.classes or published.num_classes
    first = head if isinstance(head, str) else head[0]
    found = [
        shape[0]
        for key, shape in options.shapes.items()
        if key.startswith(f"{first}.") and len(shape) > 1
    ]
    return found[-1] if found else 0


def _is_projection(options: Options, classes: int, published: int) -> bool:
    if options.classes or classes != published or not 0 < classes <= _WIDEST_PROJECTION:
        return False
    return not imagenet_labels(options, classes)


def timm_contract(published: "PretrainedCfg", size: int | None) -> ImageInput:
    """What timm's own evaluation does before the network, in the words of the contract.

    Raises:
        SetupError: it pads around the image, or crops after squashing.
    """
    from timm.data import resolve_data_config

    config = resolve_data_config({"img_size": size}, pretrained_cfg=published.to_dict())
    _, height, width = config["input_size"]
    squashed = config["crop_mode"] == "squash"
    if config["crop_mode"] == "border" or (squashed and config["crop_pct"] != 1):
        raise SetupError(
            f"the input contract of this network is not known here: crop mode "
            f"{config['crop_mode']!r} with crop_pct {config['crop_pct']}"
        )
    return ImageInput(
        height=height,
        width=width,
        resize=Resize.SQUASH if squashed else Resize.SHORTEST,
        resize_size=None if squashed else floor(min(height, width) / config["crop_pct"]),
        interpolation=Interpolation(config["interpolation"]),
        mean=config["mean"],
        std=config["std"],
    )


def build_torchvision(options: Options) -> Recipe:
    """Probabilities and embedding of a torchvision classifier.

    Raises:
        SetupError: no such network or weights.
    """
    name = options.variant.partition(".")[0]
    weights = published_by_torchvision(options.variant)
    contract = contract_of(weights.transforms(), options.image_size)
    return torchvision_recipe(name, contract, tuple(weights.meta["categories"] or ()), options)


def published_by_torchvision(name: str) -> "WeightsEnum":
    """The weights of that name, or a network's default ones without a tag.

    Raises:
        SetupError: torchvision has no such classifier or weights.
    """
    from torchvision import models

    network, _, tag = name.partition(".")
    _check_name(network, models.list_models(module=models), "torchvision")
    published = models.get_model_weights(network)
    if tag and tag not in published.__members__:
        known = ", ".join(published.__members__)
        raise SetupError(f"torchvision has no weights {tag!r} for {network!r}; it has {known}")
    return published[tag] if tag else published.DEFAULT


def _check_name(name: str, known: "Iterable[str]", library: str) -> None:
    known = list(known)
    if name in known:
        return
    near = ", ".join(map(repr, get_close_matches(name, known, n=3))) or "none near it"
    raise SetupError(f"{library} has no classifier {name!r}; it has {near}")


def convert(state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """The library's names, without what a wrapper for training put before them."""
    return unwrapped(state)


TIMM = Method(
    name="off_the_shelf_timm",
    paper=_PAPER,
    licence="Apache-2.0",
    variants=(),
    prefix="timm",
    build=build_timm,
    rows=(375,),
    convert=convert,
    summary="Any timm network by its name, with any of its layers as the embedding.",
)
TORCHVISION = Method(
    name="off_the_shelf_torchvision",
    paper=_PAPER,
    licence="BSD-3-Clause",
    variants=(),
    prefix="torchvision",
    build=build_torchvision,
    rows=(375,),
    convert=convert,
    summary="Any torchvision classifier by its name, with any of its layers as the embedding.",
)

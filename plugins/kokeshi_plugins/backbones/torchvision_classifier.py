"""torchvision's classifiers as methods: built by name, with the input contract of their weights."""

from typing import TYPE_CHECKING, Any

from kokeshi.contract import ImageInput, Interpolation, Resize
from kokeshi.plugin import Options, Recipe

from .imagenet import outputs_of, recipe

if TYPE_CHECKING:
    from torch import nn
    from torchvision.transforms._presets import ImageClassification

# Builders with arguments that torchvision sets itself when it loads its weights.
_PORTED = ("googlenet", "inception_v3")  # from TensorFlow: they rescale their input
_AUXILIARY = ("aux1.", "AuxLogits.")


def torchvision_recipe(
    name: str, contract: ImageInput, labels: tuple[str, ...], options: Options
) -> Recipe:
    """A torchvision classifier as one graph: probabilities, and what the last layer reads.

    Args:
        name: of torchvision's builder.
        contract: what the graph takes.
        labels: of the published weights; as many as their classes.
        options: number of classes, shapes of the weights, embedding layer.
    """
    from kokeshi_plugins.networks.layers import measure
    from kokeshi_plugins.networks.off_the_shelf import TorchvisionClassifier

    published = len(labels) or 1000
    network, classes = _sized(name, contract, published, options)
    module = TorchvisionClassifier(network, classes)
    dim = measure(module, contract)[-1][0]
    made = recipe(network, module, contract, outputs_of(classes, dim), options)
    own = options.classes is not None or classes != published
    return Recipe(network=network, parts=made.parts, labels=() if own else labels)


def _sized(
    name: str, contract: ImageInput, published: int, options: Options
) -> "tuple[nn.Module, int]":
    """The network with as many classes as labels or weights say; built again where they differ."""
    from kokeshi_plugins.networks.off_the_shelf import last_layer

    network = _build(name, contract, options.classes or published, options)
    if options.classes or not options.shapes:
        return network, options.classes or published
    last = last_layer(network, published)
    head = next(key for key, layer in network.named_modules() if layer is last)
    found = options.shapes.get(f"{head}.weight", (published,))[0]
    return (network if found == published else _build(name, contract, found, options)), found


def _build(name: str, contract: ImageInput, classes: int, options: Options) -> "nn.Module":
    from torchvision import models

    settings: dict[str, Any] = {"weights": None, "num_classes": classes}
    if name.startswith("vit_"):
        settings["image_size"] = contract.height
    if name.startswith("maxvit"):
        settings["input_size"] = (contract.height, contract.width)
    if name in _PORTED:
        auxiliary = any(key.startswith(_AUXILIARY) for key in options.shapes)
        settings |= {"transform_input": True, "aux_logits": auxiliary, "init_weights": False}
    return models.get_model(name, **settings)


def contract_of(preset: "ImageClassification", size: int | None) -> ImageInput:
    """The input contract of a torchvision `ImageClassification` preset.

    Args:
        preset: what `weights.transforms()` gives.
        size: another size, with the preset's margin; None keeps its own.
    """
    crop, margin = preset.crop_size[0], preset.resize_size[0]
    wanted = size or crop
    return ImageInput(
        height=wanted,
        width=wanted,
        resize=Resize.SHORTEST,
        resize_size=margin * wanted // crop,
        interpolation=Interpolation(preset.interpolation.value),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )

"""What the classifiers of ImageNet have in common: their head, their names, their two outputs."""

from typing import TYPE_CHECKING

from kokeshi.contract import ImageInput, Interpolation, Meaning, Output, Resize
from kokeshi.plugin import Options, Part, Recipe

if TYPE_CHECKING:
    from torch import nn


def classes_of(options: Options, head: str, published: int = 1000) -> int:
    """Number of classes: as labelled, else as the weights have, else as published.

    Args:
        options: what was asked for.
        head: name of the classifier's weight, (classes, dim) in the converted weights.
        published: of the authors' own head.

    Returns:
        0 where there are weights and none of a classifier.
    """
    if options.classes:
        return options.classes
    if not options.shapes:
        return published
    return options.shapes[head][0] if head in options.shapes else 0


def imagenet_labels(options: Options, classes: int) -> tuple[str, ...]:
    """Names of the ImageNet set that has so many classes, unless the user brought labels.

    Returns:
        nothing where no such set is known.
    """
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset({"num_classes": classes})
    if options.classes or not subset:
        return ()
    info = ImageNetInfo(subset)
    return tuple(info.index_to_description(index) for index in range(classes))


def centre_crop(
    size: int, margin: float, interpolation: Interpolation = Interpolation.BILINEAR
) -> ImageInput:
    """The contract of ImageNet: the shorter side to `size * margin`, then the centre."""
    return ImageInput(
        height=size,
        width=size,
        resize=Resize.SHORTEST,
        resize_size=int(size * margin),
        interpolation=interpolation,
    )


def squash(size: int, interpolation: Interpolation = Interpolation.BILINEAR) -> ImageInput:
    """The contract of larger inputs: both sides to `size`, nothing cropped."""
    return ImageInput(height=size, width=size, resize=Resize.SQUASH, interpolation=interpolation)


def outputs_of(classes: int, dim: int) -> tuple[Output, ...]:
    """Probabilities, where there are classes, and the embedding."""
    embedding = Output(name="embedding", meaning=Meaning.EMBEDDING, shape=(dim,))
    if not classes:
        return (embedding,)
    shape = (classes,)
    return Output(name="probabilities", meaning=Meaning.PROBABILITIES, shape=shape), embedding


def recipe(
    network: "nn.Module",
    module: "nn.Module",
    contract: ImageInput,
    outputs: tuple[Output, ...],
    options: Options,
) -> Recipe:
    """A network as one graph, with another layer as the embedding where `options` names one."""
    from kokeshi_plugins.networks.layers import with_embedding

    part = Part(module=module, input=contract, outputs=outputs)
    classes = next((o.shape[0] for o in outputs if o.meaning is Meaning.PROBABILITIES), 0)
    return Recipe(
        network=network,
        parts=(with_embedding(part, network, options.embedding_layer),),
        labels=imagenet_labels(options, classes),
    )


def timm_recipe(
    network: "nn.Module", classes: int, dim: int, contract: ImageInput, options: Options
) -> Recipe:
    """A timm network as one graph: probabilities and embedding, or, without classes, the latter."""
    from kokeshi_plugins.networks.heads import Embed
    from kokeshi_plugins.networks.off_the_shelf import PreLogits, TimmClassifier

    module = TimmClassifier(network) if classes else Embed(PreLogits(network))
    return recipe(network, module, contract, outputs_of(classes, dim), options)

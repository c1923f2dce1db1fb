"""MRL: a ResNet-50 whose embedding stays useful when it is cut to its first dimensions.

Matryoshka Representation Learning (Kusupati, Bhatt, Rege et al.; NeurIPS 2022),
https://arxiv.org/abs/2205.13147. Weights: https://github.com/RAIVNLab/MRL.

The network follows the FFCV recipe: torchvision's, with a blur before strided convolutions. MRL has
one classifier for each prefix length; MRL-E has one, whose columns all lengths share. A file
without classifiers serves as an embedding.
"""

from typing import TYPE_CHECKING, Final

from kokeshi.contract import Output
from kokeshi.errors import WeightsError
from kokeshi.plugin import Checkpoint, Method, Options, Paper, Recipe
from kokeshi_plugins.backbones.imagenet import classes_of, outputs_of, recipe
from kokeshi_plugins.backbones.weights import require, unwrapped
from kokeshi_plugins.embedders.contracts import IMAGENET_224, at_size
from kokeshi_plugins.embedders.resnet import VARIANTS, pooled, pooled_width, residual_network

if TYPE_CHECKING:
    from torch import Tensor

SHORTEST: Final = 8  # the authors nest powers of two from here to the full length
PAPER: Final = Paper(
    title="Matryoshka Representation Learning",
    authors="Kusupati, Bhatt, Rege, Wallingford, Sinha, Ramanujan, Howard-Snyder, Chen, Kakade, "
    "Jain, Farhadi",
    year=2022,
    url="https://arxiv.org/abs/2205.13147",
)
FILES: Final = "https://drive.google.com/drive/folders/1IEfJk4xp-sPEKvKn6eKAUzvoRV8ho2vq"
SUFFIX: Final = "_mrl"  # of the variants: the plain networks are the method `resnet`'s


def convert(state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Strips 'module.', and names the single head of older MRL-E files as newer ones do.

    Raises:
        WeightsError: its strided convolutions are not blurred, so it is another network.
    """
    state = unwrapped(state)
    require(state, "blurred ResNet", "layer2.0.downsample.0.blur_filter")
    return {
        f"fc.nesting_classifier_0.{name[3:]}" if name in {"fc.weight", "fc.bias"} else name: tensor
        for name, tensor in state.items()
    }


def nested_lengths(options: Options, full: int) -> tuple[int, ...]:
    """Prefix lengths: those of the heads where the weights have one each, else powers of two.

    Raises:
        WeightsError: the heads are no nest; the authors' fixed-feature baselines look like this.
    """
    powers = tuple(2**i for i in range(SHORTEST.bit_length() - 1, full.bit_length()))
    lengths: list[int] = []
    while weight := options.shapes.get(f"fc.nesting_classifier_{len(lengths)}.weight"):
        lengths.append(weight[1])
    if lengths and (lengths[-1] != full or lengths != sorted(set(lengths))):
        raise WeightsError(
            f"expected heads of ascending lengths up to {full}, got {', '.join(map(str, lengths))}"
        )
    return tuple(lengths) if len(lengths) > 1 else powers


def _shared(options: Options) -> bool:
    if options.shapes:
        return "fc.nesting_classifier_1.weight" not in options.shapes
    return options.settings.get("shared_head", False)


def _outputs(classes: int, lengths: tuple[int, ...]) -> tuple[Output, ...]:
    *rest, embedding = outputs_of(classes, lengths[-1])
    nested = embedding.model_copy(update={"dimensions": lengths})
    shorter = [
        full.model_copy(update={"name": f"{full.name}_{length}", "dimension": length})
        for full in rest
        for length in lengths[:-1]
    ]
    return *rest, nested, *shorter


def build(options: Options) -> Recipe:
    """The network with its nested embedding (2048-d: 8, 16, ... 2048) and a head for each length.

    Where there are no weights, the setting `shared_head` (False) asks for MRL-E.

    Raises:
        WeightsError: the heads of the weights are no nest.
    """
    from kokeshi_plugins.networks.blurpool import blur_strided
    from kokeshi_plugins.networks.heads import ClassifyAndEmbed, Embed
    from kokeshi_plugins.networks.nested import ClassifyNested, NestedHeads

    contract = at_size(options.settings.get("input", IMAGENET_224), options.image_size)
    network = residual_network(options.variant.removesuffix(SUFFIX), 0)
    blur_strided(network)
    lengths = nested_lengths(options, pooled_width(network))
    classes = classes_of(options, "fc.nesting_classifier_0.weight")
    if classes:
        network.fc = NestedHeads(lengths, classes, _shared(options))
    features = pooled(network)
    module = ClassifyNested(features, network.fc) if classes else Embed(features)
    outputs = _outputs(classes, lengths)
    if classes and options.embedding_layer:  # the prefixes are of an embedding not served
        module, outputs = ClassifyAndEmbed(features, network.fc.full), outputs[:2]
    return recipe(network, module, contract, outputs, options)


MRL: Final = Method(
    name="mrl",
    paper=PAPER,
    licence="BSD-3-Clause",
    variants=tuple(f"{variant}{SUFFIX}" for variant in VARIANTS),
    build=build,
    rows=(251,),
    convert=convert,
    summary="Residual network with a nested embedding (8 to 2048) and classifiers per length.",
)


def _checkpoint(name: str, file: str, shared_head: bool, summary: str) -> Checkpoint:
    return Checkpoint(
        name=name,
        paper=PAPER,
        method="mrl",
        variant=f"resnet50{SUFFIX}",
        source=f"{FILES} ({file})",
        licence="not stated",
        convert=convert,
        settings={"input": IMAGENET_224, "shared_head": shared_head},
        rows=(251,),
        summary=summary,
    )


# The authors' README gives the naming rule of the files: mrl, e(fficient), fixed feature size.
CHECKPOINTS: Final = (
    _checkpoint("mrl_resnet50", "r50_mrl1_e0_ff2048.pt", False, "MRL, one classifier per length."),
    _checkpoint("mrl_e_resnet50", "r50_mrl1_e1_ff2048.pt", True, "MRL-E, one shared classifier."),
)

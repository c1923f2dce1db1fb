"""Triplet network: a small convolutional embedding, compared by Euclidean distance.

Deep Metric Learning Using Triplet Network (Hoffer, Ailon; 2015), https://arxiv.org/abs/1412.6622.
The authors' code, https://github.com/eladhoffer/TripletNet, is Torch7 and publishes no weights.

One of the three towers is served. The embedding ends in a ReLU and is not normalised: only the L2
distance means what it meant in training.
"""

from typing import TYPE_CHECKING, Final

from kokeshi.contract import ImageInput, Meaning, Output
from kokeshi.errors import SetupError, WeightsError
from kokeshi.plugin import Method, Options, Paper, Part, Recipe
from kokeshi_plugins.backbones.weights import require, unwrapped

if TYPE_CHECKING:
    from torch import Tensor

SIDE: Final = 32  # pixels; the network is built for the tiny images of CIFAR and SVHN
PARAMETERS: Final = 505_088

# The authors subtract the mean of the whole training tensor and divide by its deviation, two
# scalars that they do not store. These are CIFAR-10's, over all channels.
CIFAR10: Final = ImageInput(
    height=SIDE, width=SIDE, mean=(0.4734, 0.4734, 0.4734), std=(0.2516, 0.2516, 0.2516)
)


def convert(state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Accepts the network's own names, or one flat vector in the order of Torch7's getParameters.

    Raises:
        WeightsError: it is neither.
    """
    state = unwrapped(state)
    if len(state) != 1:
        require(state, "triplet network", "conv4.weight")
        return state
    from kokeshi_plugins.networks.triplet import cut

    (flat,) = state.values()
    if flat.numel() != PARAMETERS:
        raise WeightsError(f"expected {PARAMETERS} parameters in one vector, got {flat.numel()}")
    return cut(flat.flatten())


def build(options: Options) -> Recipe:
    """The tower: 128-d, compared by L2 distance.

    Raises:
        SetupError: another image size; the last convolution must see a 2x2 map.
    """
    from kokeshi_plugins.networks.heads import Embed
    from kokeshi_plugins.networks.layers import with_embedding
    from kokeshi_plugins.networks.triplet import WIDTH, TripletEmbedding

    if options.image_size not in {None, SIDE}:
        raise SetupError(
            f"the triplet network takes images of {SIDE} pixels, not {options.image_size}"
        )
    network = TripletEmbedding().eval()
    output = Output(
        name="embedding",
        meaning=Meaning.EMBEDDING,
        shape=(WIDTH,),
        metric="l2",
        normalised=False,
    )
    part = Part(Embed(network, normalise=False), CIFAR10, (output,))
    return Recipe(network, (with_embedding(part, network, options.embedding_layer),))


TRIPLET: Final = Method(
    name="triplet",
    paper=Paper(
        title="Deep metric learning using Triplet network",
        authors="Hoffer, Ailon",
        year=2015,
        url="https://arxiv.org/abs/1412.6622",
    ),
    licence="Apache-2.0",
    variants=("triplet",),
    build=build,
    rows=(6,),
    convert=convert,
    summary="Small convolutional embedding of 32x32 images; 128-d, ranked by L2 distance.",
)

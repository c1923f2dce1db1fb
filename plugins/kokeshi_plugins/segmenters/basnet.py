"""BASNet: the salient object of an image, for cutting it out.

Qin, Fan, Huang, Diagne, Zhang, Sant'Anna, Suarez, Jagersand, Shao: Boundary-Aware Segmentation
Network for Mobile and Web Applications (2021), https://arxiv.org/abs/2101.04704. Code and weights:
https://github.com/xuebinqin/BASNet (MIT).

As in the authors' test script, the image is squashed to 256 x 256, divided by its own maximum
instead of 255 and normalised; the refined map alone is kept and stretched to [0, 1] per image.
The resize of the scikit-image that they name (0.14) does not antialias by default; the contract's
does.
"""

import re
from functools import cache
from typing import TYPE_CHECKING

from kokeshi.contract import ImageInput, Interpolation, Meaning, Output, Resize
from kokeshi.errors import SetupError, WeightsError
from kokeshi.plugin import Checkpoint, Method, Options, Paper, Part, Recipe
from kokeshi_plugins.backbones.weights import require, unwrapped

if TYPE_CHECKING:
    from torch import Tensor

_PAPER = Paper(
    title="Boundary-Aware Segmentation Network for Mobile and Web Applications",
    authors="Qin, Fan, Huang, Diagne, Zhang, Sant'Anna, Suarez, Jagersand, Shao",
    year=2021,
    url="https://arxiv.org/abs/2101.04704",
)
_STRIDE = 32  # five halvings
_SIDE_OUTPUT = re.compile(r"outconv(b|[2-6])\.")


def build(options: Options) -> Recipe:
    """The network and its graph: (N, 3, 256, 256) in [0, 1] to a foreground (N, 256, 256).

    Raises:
        SetupError: a side is no multiple of 32, or labels were given.
    """
    from kokeshi_plugins.networks.basnet import BASNet, Foreground
    from kokeshi_plugins.networks.layers import with_embedding

    size = options.image_size or 256
    if size % _STRIDE:
        raise SetupError(f"the image size of BASNet must be a multiple of {_STRIDE}, not {size}")
    if options.classes:
        raise SetupError("BASNet finds a foreground and takes no labels")
    contract = ImageInput(
        height=size,
        width=size,
        resize=Resize.SQUASH,
        interpolation=Interpolation.BILINEAR,
        mean=(0, 0, 0),  # the network divides by the image's own maximum first
        std=(1, 1, 1),
    )
    network = BASNet()
    output = Output(name="foreground", meaning=Meaning.FOREGROUND, shape=(size, size))
    part = Part(module=Foreground(network), input=contract, outputs=(output,))
    return Recipe(network=network, parts=(with_embedding(part, network, options.embedding_layer),))


def convert(state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Renames the authors' file and drops the side outputs, which serve training alone.

    Raises:
        WeightsError: another network's file, or the one from before September 2019.
    """
    state = unwrapped(state)
    if "stem.0.weight" in state and "refine.stem.weight" in state:
        return state  # renamed already
    statistics = ("bn6d_2.running_mean", "bn6d_2.running_var")
    require(state, "BASNet", "inconv.weight", "refunet.conv0.weight", *statistics)
    _check_age(state)
    return {_renamed(key): value for key, value in state.items() if not _SIDE_OUTPUT.match(key)}


def _check_age(state: "dict[str, Tensor]") -> None:
    """Refuses the first file, whose training ran stage 6 through the batch norm of stage 5."""
    mean, variance = state["bn6d_2.running_mean"], state["bn6d_2.running_var"]
    if not mean.any() and bool((variance == 1).all()):
        raise WeightsError(
            "this BASNet file is from before September 2019, when 'bn6d_2' was not in use; "
            "take the current basnet.pth"
        )


def _renamed(key: str) -> str:
    """One published name in the words of kokeshi_plugins.networks.basnet."""
    for published, ours in _modules().items():
        if key.startswith(published + "."):
            return ours + key.removeprefix(published)
    return key


@cache
def _modules() -> dict[str, str]:
    """Published module -> ours. The authors number from the image inwards, in both directions."""
    names = {"inconv": "stem.0", "inbn": "stem.1", "outconv1": "coarse"}
    names |= {f"encoder{i}": f"encoder.{i - 1}" for i in range(1, 5)}
    names |= {f"resb{i}_{j}": f"encoder.{i - 1}.{j - 1}" for i in (5, 6) for j in (1, 2, 3)}
    names |= {"refunet.conv0": "refine.stem", "refunet.conv_d0": "refine.residual"}
    for place, kind in enumerate(("conv", "bn")):
        for third, suffix in enumerate("1m2"):
            names[f"{kind}bg_{suffix}"] = f"bridge.{third}.{place}"
            names |= {
                f"{kind}{i}d_{suffix}": f"decoder.{6 - i}.{third}.{place}" for i in range(1, 7)
            }
        names |= {f"refunet.{kind}{i}": f"refine.down.{i - 1}.{place}" for i in range(1, 6)}
        names |= {f"refunet.{kind}_d{i}": f"refine.up.{4 - i}.{place}" for i in range(1, 5)}
    return names


METHOD = Method(
    name="basnet",
    paper=_PAPER,
    licence="MIT",
    variants=("basnet",),
    build=build,
    rows=(355,),
    convert=convert,
    summary="Cuts out the salient object: ResNet-34 encoder-decoder with a refining U-Net.",
)

CHECKPOINT = Checkpoint(
    name="basnet_bsi",
    paper=_PAPER,
    method="basnet",
    variant="basnet",
    source="https://drive.google.com/open?id=1s52ek_4YTDRt_EOkx1FS53u-vJa0c4nu",
    licence="not stated",
    convert=convert,
    rows=(355,),
    summary="basnet.pth of the authors' repository, trained for CVPR 2019.",
)

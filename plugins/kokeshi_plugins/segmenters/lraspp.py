"""LR-ASPP: the light segmentation head of MobileNetV3.

Howard, Sandler, Chu, Chen, Chen, Tan, Wang, Zhu, Pang, Vasudevan, Le, Adam: Searching for
MobileNetV3 (ICCV 2019), https://arxiv.org/abs/1905.02244. The network and its weights are
torchvision's (BSD-3-Clause), trained on COCO's images of the 20 classes of Pascal VOC.

torchvision's reference resizes the shorter side to 520 and keeps the aspect ratio, so that its maps
differ in size from image to image. A graph with fixed sides squashes to 520 x 520 instead.
"""

from typing import TYPE_CHECKING

from kokeshi.contract import Meaning, Output
from kokeshi.errors import SetupError
from kokeshi.plugin import Checkpoint, Method, Options, Paper, Part, Recipe
from kokeshi_plugins.backbones.imagenet import classes_of, squash
from kokeshi_plugins.backbones.weights import require, unwrapped

if TYPE_CHECKING:
    from torch import Tensor

_PAPER = Paper(
    title="Searching for MobileNetV3",
    authors="Howard, Sandler, Chu, Chen, Chen, Tan, Wang, Zhu, Pang, Vasudevan, Le, Adam",
    year=2019,
    url="https://arxiv.org/abs/1905.02244",
)
_HEAD = "classifier.low_classifier.weight"
_MOST_CLASSES = 256  # of a uint8 label map


def build(options: Options) -> Recipe:
    """A label map (N, height, width), uint8.

    Raises:
        SetupError: more classes than a label map can hold.
    """
    from torchvision.models import segmentation

    from kokeshi_plugins.networks.label_map import LabelMap
    from kokeshi_plugins.networks.layers import with_embedding

    weights = segmentation.LRASPP_MobileNet_V3_Large_Weights.DEFAULT
    names = tuple(weights.meta["categories"])
    classes = classes_of(options, _HEAD, published=len(names))
    if classes > _MOST_CLASSES:
        raise SetupError(f"a label map holds at most {_MOST_CLASSES} classes, not {classes}")
    network = segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=classes
    )
    contract = squash(options.image_size or 520)
    shape = (contract.height, contract.width)
    output = Output(name="label_map", meaning=Meaning.LABEL_MAP, shape=shape)
    part = Part(module=LabelMap(network), input=contract, outputs=(output,))
    return Recipe(
        network=network,
        parts=(with_embedding(part, network, options.embedding_layer),),
        labels=names if classes == len(names) and not options.classes else (),
    )


def convert(state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """The names of torchvision, without what a wrapper for training put before them.

    Raises:
        WeightsError: another network's file.
    """
    state = unwrapped(state)
    require(state, "LR-ASPP", _HEAD)
    return state


METHOD = Method(
    name="lraspp",
    paper=_PAPER,
    licence="BSD-3-Clause",
    variants=("lraspp_mobilenet_v3_large",),
    build=build,
    rows=(458,),
    convert=convert,
    summary="Mobile semantic segmentation: 20 classes of Pascal VOC and the background.",
)

CHECKPOINT = Checkpoint(
    name="lraspp_mobilenet_v3_large_coco_voc",
    paper=_PAPER,
    method="lraspp",
    variant="lraspp_mobilenet_v3_large",
    source="https://download.pytorch.org/models/lraspp_mobilenet_v3_large-d234d4ea.pth",
    licence="BSD-3-Clause",
    convert=convert,
    rows=(458,),
    figures={"COCO val2017 with VOC labels, mIoU, %": 57.9, "pixel accuracy, %": 91.2},
    summary="COCO images of the Pascal VOC classes.",
)

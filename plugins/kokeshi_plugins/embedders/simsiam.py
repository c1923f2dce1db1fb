"""SimSiam: a ResNet-50 trained by likening two views of an image, without negatives.

Exploring Simple Siamese Representation Learning (Chen, He; CVPR 2021),
https://arxiv.org/abs/2011.10566. Weights: https://github.com/facebookresearch/simsiam.

What is served is the encoder up to its pooled features; projector and predictor were for training.
The authors' linear probe reads those features as they are; their L2 norm is the server's addition.
"""

from typing import TYPE_CHECKING, Final

from kokeshi.plugin import Checkpoint, Paper
from kokeshi_plugins.backbones.weights import require, unwrapped
from kokeshi_plugins.embedders import resnet
from kokeshi_plugins.embedders.contracts import IMAGENET_224

if TYPE_CHECKING:
    from torch import Tensor

PAPER: Final = Paper(
    title="Exploring Simple Siamese Representation Learning",
    authors="Chen, He",
    year=2021,
    url="https://arxiv.org/abs/2011.10566",
)
FILES: Final = "https://dl.fbaipublicfiles.com/simsiam/models"
LICENCE: Final = "CC-BY-NC-4.0"
ACCURACY: Final = "ImageNet-1k accuracy, %"
LINEAR_PROBE: Final = "ImageNet-1k linear probe, %"


def convert_encoder(state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Keeps 'module.encoder.*' without the projector, which sits in the place of its `fc`.

    Raises:
        WeightsError: it is not a pre-training file.
    """
    state = unwrapped(state)
    require(state, "SimSiam pre-training", "encoder.conv1.weight")
    return {
        name.removeprefix("encoder."): tensor
        for name, tensor in state.items()
        if name.startswith("encoder.") and not name.startswith("encoder.fc.")
    }


def _pretrained(name: str, run: str, batch_size: int, top1: float) -> Checkpoint:
    return Checkpoint(
        name=name,
        paper=PAPER,
        method="resnet",
        variant="resnet50",
        source=f"{FILES}/{run}/pretrain/checkpoint_0099.pth.tar",
        licence=LICENCE,
        convert=convert_encoder,
        settings={"input": IMAGENET_224, "classifier": False},
        rows=(1,),
        figures={LINEAR_PROBE: top1},
        summary=f"SimSiam encoder, 100 epochs at batch size {batch_size}; 2048-d embedding.",
    )


def _linear(name: str, run: str, batch_size: int, top1: float) -> Checkpoint:
    return Checkpoint(
        name=name,
        paper=PAPER,
        method="resnet",
        variant="resnet50",
        source=f"{FILES}/{run}/linear/model_best.pth.tar",
        licence=LICENCE,
        convert=resnet.convert,
        settings={"input": IMAGENET_224},
        rows=(1,),
        figures={ACCURACY: top1},
        summary=f"SimSiam encoder (batch size {batch_size}) with its linear ImageNet classifier.",
    )


CHECKPOINTS: Final = (
    _pretrained("simsiam", "100ep", 512, 68.1),
    _linear("simsiam_linear", "100ep", 512, 68.1),
    _pretrained("simsiam_bs256", "100ep-256bs", 256, 68.3),
    _linear("simsiam_bs256_linear", "100ep-256bs", 256, 68.3),
)

"""MAE: Vision Transformers trained to fill in the masked three quarters of an image.

Masked Autoencoders Are Scalable Vision Learners (He, Chen, Xie, Li, Dollár, Girshick; CVPR 2022),
https://arxiv.org/abs/2111.06377. Weights: https://github.com/facebookresearch/mae.

The authors read the networks out in two ways, and so are they served: a pre-trained encoder norms
its tokens and takes the class token, as in their linear probe; a fine-tuned classifier averages the
patch tokens and then norms (`fc_norm`). The decoder was for training.
"""

from typing import TYPE_CHECKING, Final

from kokeshi.plugin import Checkpoint, Paper
from kokeshi_plugins.backbones.weights import require
from kokeshi_plugins.embedders import vit
from kokeshi_plugins.embedders.contracts import IMAGENET_224_BICUBIC

if TYPE_CHECKING:
    from torch import Tensor

PAPER: Final = Paper(
    title="Masked Autoencoders Are Scalable Vision Learners",
    authors="He, Chen, Xie, Li, Dollár, Girshick",
    year=2022,
    url="https://arxiv.org/abs/2111.06377",
)
FILES: Final = "https://dl.fbaipublicfiles.com/mae"
LICENCE: Final = "CC-BY-NC-4.0"
PRETEXT: Final = ("decoder_", "mask_token")  # names of the decoder's parameters start so


def convert_encoder(state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Drops the decoder, which some of the authors' files hold.

    Raises:
        WeightsError: it is not a pre-training file.
    """
    state = vit.convert(state)
    require(state, "MAE pre-training", "norm.weight")
    return {name: tensor for name, tensor in state.items() if not name.startswith(PRETEXT)}


def convert_classifier(state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """The names are the network's.

    Raises:
        WeightsError: it is not a file of the authors' fine-tuning.
    """
    state = vit.convert(state)
    require(state, "fine-tuned MAE", "fc_norm.weight")
    return state


def _pretrained(size: str, patch: int, linear_top1: float) -> Checkpoint:
    return Checkpoint(
        name=f"mae_vit_{size}_patch{patch}",
        paper=PAPER,
        method="vit",
        variant=f"vit_{size}_patch{patch}_224",
        source=f"{FILES}/pretrain/mae_pretrain_vit_{size}.pth",
        licence=LICENCE,
        convert=convert_encoder,
        settings={"input": IMAGENET_224_BICUBIC, "classifier": False, "pool": "token"},
        rows=(11,),
        figures={"ImageNet-1k linear probe, %": linear_top1},
        summary=f"MAE encoder, ViT-{size}; the normed class token.",
    )


def _finetuned(size: str, patch: int, top1: float) -> Checkpoint:
    return Checkpoint(
        name=f"mae_finetuned_vit_{size}_patch{patch}",
        paper=PAPER,
        method="vit",
        variant=f"vit_{size}_patch{patch}_224",
        source=f"{FILES}/finetune/mae_finetuned_vit_{size}.pth",
        licence=LICENCE,
        convert=convert_classifier,
        settings={"input": IMAGENET_224_BICUBIC, "pool": "avg"},
        rows=(11,),
        figures={"ImageNet-1k accuracy, %": top1},
        summary=f"MAE fine-tuned on ImageNet-1K, ViT-{size}; the normed mean of the patches.",
    )


CHECKPOINTS: Final = (
    _pretrained("base", 16, 67.8),
    _pretrained("large", 16, 76.0),
    _pretrained("huge", 14, 77.2),
    _finetuned("base", 16, 83.664),
    _finetuned("large", 16, 85.952),
    _finetuned("huge", 14, 86.928),
)

"""Methods that are known for the vectors they give, and the networks that host them."""

from typing import Final

from kokeshi.plugin import Plugin
from kokeshi_plugins.embedders.mae import CHECKPOINTS as MAE
from kokeshi_plugins.embedders.mrl import CHECKPOINTS as MRL_CHECKPOINTS
from kokeshi_plugins.embedders.mrl import MRL
from kokeshi_plugins.embedders.resnet import RESNET
from kokeshi_plugins.embedders.simsiam import CHECKPOINTS as SIMSIAM
from kokeshi_plugins.embedders.triplet import TRIPLET
from kokeshi_plugins.embedders.vit import VIT

PLUGINS: Final[tuple[Plugin, ...]] = (
    RESNET,
    *SIMSIAM,
    TRIPLET,
    VIT,
    *MAE,
    MRL,
    *MRL_CHECKPOINTS,
)

"""Retrievers: what makes more of an index's neighbours."""

from typing import Final

from kokeshi_plugins.retrievers.bt2 import BT2
from kokeshi_plugins.retrievers.depth import DEPTH
from kokeshi_plugins.retrievers.funnel import FUNNEL
from kokeshi_plugins.retrievers.hopfield import HOPFIELD
from kokeshi_plugins.retrievers.im2gps import IM2GPS
from kokeshi_plugins.retrievers.maps import MAPS
from kokeshi_plugins.retrievers.neighbour_vote import VOTE
from kokeshi_plugins.retrievers.open_set import OPEN_SET
from kokeshi_plugins.retrievers.pca import PCA
from kokeshi_plugins.retrievers.prototypes import PROTOTYPES
from kokeshi_plugins.retrievers.verification import VERIFICATION

PLUGINS: Final = (
    BT2,
    DEPTH,
    FUNNEL,
    HOPFIELD,
    IM2GPS,
    MAPS,
    OPEN_SET,
    PCA,
    PROTOTYPES,
    VERIFICATION,
    VOTE,
)

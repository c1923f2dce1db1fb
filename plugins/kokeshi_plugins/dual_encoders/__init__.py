"""Two towers that write into one space, so that an image can be found by words."""

from .clip import CLIP
from .clip_checkpoints import CHECKPOINTS

PLUGINS = (CLIP, *CHECKPOINTS)

"""The built-in plugins. `PLUGINS` is what the entry point `builtin` offers."""

from typing import Final

from kokeshi_plugins import backbones, digits, dual_encoders, embedders, segmenters

PLUGINS: Final = (
    *backbones.PLUGINS,
    *digits.PLUGINS,
    *dual_encoders.PLUGINS,
    *embedders.PLUGINS,
    *segmenters.PLUGINS,
)

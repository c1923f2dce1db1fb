"""The built-in plugins. `PLUGINS` is what the entry point `builtin` offers."""

from typing import Final

from kokeshi_plugins import (
    backbones,
    diagnostics,
    digits,
    dual_encoders,
    embedders,
    retrievers,
    segmenters,
)

PLUGINS: Final = (
    *backbones.PLUGINS,
    *diagnostics.PLUGINS,
    *digits.PLUGINS,
    *dual_encoders.PLUGINS,
    *embedders.PLUGINS,
    *retrievers.PLUGINS,
    *segmenters.PLUGINS,
)

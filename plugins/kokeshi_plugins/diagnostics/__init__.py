"""Diagnostics: what a collection's vectors say of themselves, one method in each file.

Every figure's definition and source stand in the docstring of its module. What a diagnostic draws
instead of reading whole is bounded by its settings `most_...`, and its advice says when it drew.
"""

from typing import Final

from kokeshi_plugins.diagnostics import (
    class_geometry,
    drift,
    hubness,
    intrinsic_dimension,
    label_audit,
    near_duplicates,
    prefixes,
    spaces,
    uniformity,
)

PLUGINS: Final = (
    class_geometry.PLUGIN,
    drift.PLUGIN,
    hubness.PLUGIN,
    intrinsic_dimension.PLUGIN,
    label_audit.PLUGIN,
    near_duplicates.PLUGIN,
    prefixes.PLUGIN,
    spaces.PLUGIN,
    uniformity.PLUGIN,
)

"""Fields of an item's metadata."""

from collections.abc import Mapping
from typing import Any


def value_at(metadata: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401 - any JSON value
    """The value of a field, which dots may lead into objects; None where there is none."""
    if path in metadata:
        return metadata[path]
    there: Any = metadata
    for key in path.split("."):
        if not isinstance(there, Mapping) or key not in there:
            return None
        there = there[key]
    return there

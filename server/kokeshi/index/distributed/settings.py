"""The settings of a collection as one text, kept by the server beside it.

Nothing is kept anywhere else, so that every gateway finds the collections of all others.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import orjson

from kokeshi.errors import UnavailableError
from kokeshi.index.spec import CollectionSpec

PROPERTY: Final = "kokeshi.collection"
FORMAT: Final = 1


def written(spec: CollectionSpec, **more: object) -> str:
    """Settings as text; `more` is the store's own."""
    return orjson.dumps({"format": FORMAT, "spec": asdict(spec), **more}).decode()


def read(encoded: str | None, name: str) -> tuple[CollectionSpec, Mapping[str, Any]]:
    """What `written` wrote: the spec, and all values.

    Raises:
        UnavailableError: something else made the collection, or a newer version.
    """
    try:
        values = orjson.loads(encoded or "")
        is_newer = values["format"] > FORMAT
        if not is_newer:
            spec = {**values["spec"], "dimensions": tuple(values["spec"]["dimensions"])}
            return CollectionSpec(**spec), values
    except (ValueError, KeyError, TypeError) as error:
        raise UnavailableError(f"collection {name!r} was not made by kokeshi") from error
    raise UnavailableError(f"collection {name!r} was made by a newer version")

"""Integers of metadata that have more than 64 bits: orjson reads them as floats, the nearest ones.

They are to be refused, not rounded, so a document that may hold one is read again by the standard
library. The store then refuses the item and names it.
"""

import json
from typing import Any, Final

from kokeshi.errors import InvalidRequestError

LEAST_ROUNDED: Final = 2.0**63  # of the absolute values that orjson may have made of integers


def is_rounded(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    """Whether a value that orjson read holds a float that may have been a longer integer."""
    if isinstance(value, dict):
        return any(map(is_rounded, value.values()))
    if isinstance(value, list):
        return any(map(is_rounded, value))
    return isinstance(value, float) and abs(value) >= LEAST_ROUNDED


def exactly(data: str | bytes) -> Any:  # noqa: ANN401 - any JSON value
    """A document that orjson could read, with its integers as they are.

    Raises:
        InvalidRequestError: one has thousands of digits, or the document is too deep.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(
            "integers of metadata have at most 64 bits, got a longer one"
        ) from error

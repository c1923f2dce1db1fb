"""Bounds of the diagnostics' settings, chosen by what a call may cost.

Time: whoever looks at pairs takes the square of the items. Memory: what is kept for each pair, or
each item and neighbour, is a matrix, and none may be larger than about MOST_BYTES.
"""

from collections.abc import Mapping
from typing import Any, Final

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import Bounds

MOST_BYTES: Final = 2**30  # of one matrix
MOST_ITEMS: Final = 200_000  # time: all pairs of them, in blocks
MOST_NEIGHBOURS: Final = 200  # memory: pairs of neighbours, for each of a block of items
MOST_FLAGGED: Final = 100_000

ITEMS: Final = Bounds(2, MOST_ITEMS)
NEIGHBOURS: Final = Bounds(1, MOST_NEIGHBOURS)
FLAGGED: Final = Bounds(0, MOST_FLAGGED)


def reads_enough(settings: Mapping[str, Any], name: str, least: int) -> None:
    """Refuses to read fewer items than a figure is made of.

    Raises:
        InvalidRequestError: the setting is below `least`, which other settings decide.
    """
    if settings[name] < least:
        neighbours = settings.get("neighbours")
        why = "" if neighbours is None else f" with neighbours of {neighbours}"
        raise InvalidRequestError(
            f"setting {name!r} is at least {least}{why}, got {settings[name]!r}"
        )


def check_cells(rows: int, columns: int, what: str) -> None:
    """Refuses a matrix of float64 that is too large.

    Raises:
        InvalidRequestError: it would take more than MOST_BYTES.
    """
    most = MOST_BYTES // 8
    if rows * columns > most:
        raise InvalidRequestError(
            f"expected at most {most:,} {what}, got {rows:,} times {columns:,}: read fewer items, "
            "or fewer labels"
        )

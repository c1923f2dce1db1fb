"""Bounds of the retrievers' settings, chosen by what a call may cost."""

from typing import Final

from kokeshi.plugin import Bounds

MOST_PAIRED_ITEMS: Final = 8_000  # memory: a matrix of all pairs is 512 MB; time grows likewise
MOST_MAPPED_ITEMS: Final = 4 * MOST_PAIRED_ITEMS  # a quarter of them are paired
MOST_NEIGHBOURS: Final = 200  # memory: pairs of neighbours, for each query
MOST_VOTERS: Final = 1_000  # time: each may look at all the others
LONGEST_VECTOR: Final = 65_536

NEIGHBOURS: Final = Bounds(1, MOST_NEIGHBOURS)
PAIRED_ITEMS: Final = Bounds(1, MOST_PAIRED_ITEMS)
VOTERS: Final = Bounds(1, MOST_VOTERS)
LENGTH: Final = Bounds(1, LONGEST_VECTOR)
# an energy is divided by beta, and its exponents are multiplied by it
BETA: Final = Bounds(1e-3, 1e5)

"""Exact comparison of numbers that are held as float64.

An integer that float64 does not hold (above 2 to the power of 53) is held as its rounding and a
residue: value = rounding + residue. Rounding keeps the order, so pairs compare as the integers do:
by the rounding, and by the residue where roundings are equal.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from kokeshi.index.filters.cells import Array, Mask
from kokeshi.index.filters.grammar import Range

EXACT_INTEGERS: Final = 2.0**53
FEW_VALUES: Final = 16  # of a set: one comparison each is quicker than a search among them


def encode(values: Sequence[int | float]) -> tuple[Array, ...]:
    """(n,) float64, and (n,) int16 residues where one is not 0; integers are of 64 bits."""
    doubles = np.array(values, np.float64)
    large = np.flatnonzero(np.abs(doubles) >= EXACT_INTEGERS)
    residues = np.zeros(len(doubles), np.int16)
    for i in large.tolist():
        residues[i] = split(values[i])[1]
    return (doubles, residues) if residues.any() else (doubles,)


def split(value: int | float) -> tuple[float, int]:
    """A number as its rounding and its residue."""
    rounded = float(value)
    return rounded, 0 if isinstance(value, float) else value - int(rounded)


def value(rounded: float, residue: int) -> int | float:
    """The inverse of `split`."""
    return int(rounded) + residue if residue else rounded


def equal_to(data: tuple[Array, ...], value: int | float) -> Mask:
    """Which of the numbers are this one."""
    rounded, residue = split(value)
    hits: Mask = data[0] == rounded
    if len(data) > 1:
        hits &= data[1] == residue
    elif residue:
        hits[:] = False
    return hits


def one_of(data: tuple[Array, ...], values: Sequence[int | float]) -> Mask:
    """Which of the numbers are one of these."""
    if len(values) <= FEW_VALUES:
        return np.logical_or.reduce([equal_to(data, value) for value in values])
    pairs = {split(value) for value in values}
    if len(data) == 1:
        pairs = {pair for pair in pairs if not pair[1]}
    wanted = np.unique(np.array([rounded for rounded, _ in pairs], np.float64))
    if not len(wanted):
        return np.zeros(len(data[0]), np.bool_)
    places = np.searchsorted(wanted, data[0]).clip(max=len(wanted) - 1)
    hits: Mask = wanted[places] == data[0]
    if len(data) > 1:
        found = np.flatnonzero(hits)
        exact = zip(data[0][found].tolist(), data[1][found].tolist(), strict=True)
        hits[found] = [pair in pairs for pair in exact]
    return hits


def in_range(data: tuple[Array, ...], bounds: Range) -> Mask:
    """Which of the numbers are within bounds, which are numbers too."""
    hits: Mask | None = None
    for bound, is_lower, is_strict in (
        (bounds.above, True, True),
        (bounds.least, True, False),
        (bounds.most, False, False),
        (bounds.below, False, True),
    ):
        if bound is None or isinstance(bound, str):
            continue
        fits = _beyond(data, bound, is_strict) if is_lower else _short_of(data, bound, is_strict)
        hits = fits if hits is None else np.logical_and(hits, fits, out=hits)
    return np.zeros(len(data[0]), np.bool_) if hits is None else hits


def _beyond(data: tuple[Array, ...], bound: int | float, is_strict: bool) -> Mask:
    rounded, residue = split(bound)
    if len(data) == 1:
        # all residues are 0: equal roundings are beyond where the bound's own is below 0
        takes_equal = residue < 0 or (residue == 0 and not is_strict)
        return data[0] >= rounded if takes_equal else data[0] > rounded
    tied = data[1] > residue if is_strict else data[1] >= residue
    return (data[0] > rounded) | ((data[0] == rounded) & tied)


def _short_of(data: tuple[Array, ...], bound: int | float, is_strict: bool) -> Mask:
    rounded, residue = split(bound)
    if len(data) == 1:
        takes_equal = residue > 0 or (residue == 0 and not is_strict)
        return data[0] <= rounded if takes_equal else data[0] < rounded
    tied = data[1] < residue if is_strict else data[1] <= residue
    return (data[0] < rounded) | ((data[0] == rounded) & tied)

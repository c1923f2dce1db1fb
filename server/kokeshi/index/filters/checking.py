"""Refusal of filters that no item can be asked, by the place of the bad term.

A place reads like the path into the filter's JSON: "filter.and[1].gte".
"""

import math
import re
import reprlib
from collections.abc import Iterator, Sequence
from typing import Final

from kokeshi.errors import InvalidRequestError
from kokeshi.index.filters.geo import MAX_LATITUDE, MAX_LONGITUDE
from kokeshi.index.filters.grammar import (
    ID,
    MAX_DEPTH,
    MAX_PATH_CHARACTERS,
    MAX_PATH_KEYS,
    MAX_TERMS,
    MAX_VALUES,
    ORIGIN,
    And,
    Equals,
    Filter,
    In,
    Leaf,
    Not,
    Or,
    Prefix,
    Range,
    Within,
)

MAX_TEXT_CHARACTERS: Final = 4096
BOUNDS: Final = {"gt": "above", "gte": "least", "lte": "most", "lt": "below"}
LEAST_INTEGER: Final = -(2**63)  # of metadata
MOST_INTEGER: Final = 2**64 - 1
ROOT: Final = "filter"

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def check(asked: object) -> None:
    """Refuses a filter that is too large, too deep, or holds a bad term.

    Raises:
        InvalidRequestError: with the place of what is wrong.
    """
    terms = list(_walk(asked, ROOT, 1))
    check_size([term for _, term in terms])
    for place, term in terms:
        if isinstance(term, Leaf):
            check_leaf(term, place)
        elif not isinstance(term, And | Or | Not):
            raise refused(place, "a filter", term)


def check_size(terms: Sequence[object]) -> None:
    """Refuses too many conditions, and too many values of all sets together."""
    if len(terms) > MAX_TERMS:
        raise refused(ROOT, f"at most {MAX_TERMS} conditions", len(terms))
    values = sum(len(term.values) for term in terms if isinstance(term, In))
    if values > MAX_VALUES:
        raise refused(ROOT, f"at most {MAX_VALUES} values in its sets", values)


def terms_of(asked: Filter) -> list[object]:
    """A filter and all conditions in it."""
    return [term for _, term in _walk(asked, ROOT, 1)]


def check_leaf(leaf: Leaf, place: str) -> None:
    """Refuses one condition.

    Raises:
        InvalidRequestError: with the place of what is wrong.
    """
    check_path(leaf.field, f"{place}.field")
    match leaf:
        case Equals(value=value):
            check_scalar(value, f"{place}.eq")
        case In():
            _check_set(leaf, f"{place}.in")
        case Range():
            _check_range(leaf, place)
        case Prefix(text=text):
            _check_text(text, f"{place}.prefix")
        case Within():
            _check_within(leaf, f"{place}.within")


def check_path(path: object, place: str) -> None:
    """Refuses what names no field."""
    if not isinstance(path, str):
        raise refused(place, "the name of a field", path)
    if path in {ID, ORIGIN}:
        return
    if not 1 <= len(path) <= MAX_PATH_CHARACTERS:
        raise refused(place, f"a name of 1 to {MAX_PATH_CHARACTERS} characters", path)
    if path.startswith("$"):
        raise refused(place, f"{ID}, {ORIGIN} or a field of the metadata", path)
    keys = path.split(".")
    if not all(keys) or "\0" in path or _SURROGATE.search(path):
        raise refused(place, "keys with dots between them", path)
    if len(keys) > MAX_PATH_KEYS:
        raise refused(place, f"at most {MAX_PATH_KEYS} keys", path)


def check_scalar(value: object, place: str) -> None:
    """Refuses what is no text, number or truth value, and numbers that metadata cannot hold."""
    if isinstance(value, str):
        _check_text(value, place)
    elif not isinstance(value, bool) and not _is_number(value):
        raise refused(place, "a text, a number, true or false", value)


def check_depth(depth: int, place: str) -> None:
    """Refuses conditions too deep in one another."""
    if depth > MAX_DEPTH:
        raise refused(place, f"at most {MAX_DEPTH} conditions in one another", depth)


def refused(place: str, expected: str, got: object) -> InvalidRequestError:
    """The error for a place where something else was expected."""
    # a prefix of it: the value may be a megabyte
    return InvalidRequestError(f"{place}: expected {expected}, got {reprlib.repr(got)}")


def _walk(asked: object, place: str, depth: int) -> Iterator[tuple[str, object]]:
    check_depth(depth, place)
    yield place, asked
    if isinstance(asked, Not):
        yield from _walk(asked.term, f"{place}.not", depth + 1)
    elif isinstance(asked, And | Or):
        name = "and" if isinstance(asked, And) else "or"
        for number, term in enumerate(asked.terms):
            yield from _walk(term, f"{place}.{name}[{number}]", depth + 1)


def _check_set(leaf: In, place: str) -> None:
    for number, value in enumerate(leaf.values):
        check_scalar(value, f"{place}[{number}]")


def _check_range(leaf: Range, place: str) -> None:
    given = {key: getattr(leaf, name) for key, name in BOUNDS.items()}
    given = {key: bound for key, bound in given.items() if bound is not None}
    if not given:
        raise refused(place, f"one of {', '.join(BOUNDS)}", {})
    for key, bound in given.items():
        if isinstance(bound, str):
            _check_text(bound, f"{place}.{key}")
        elif not _is_number(bound):
            raise refused(f"{place}.{key}", "a number or a text", bound)
    kinds = {isinstance(bound, str) for bound in given.values()}
    if len(kinds) > 1:
        raise refused(place, "bounds that are all numbers or all texts", list(given.values()))


def _check_within(leaf: Within, place: str) -> None:
    for name, value, most in (
        ("lat", leaf.latitude, MAX_LATITUDE),
        ("lon", leaf.longitude, MAX_LONGITUDE),
    ):
        if not _is_number(value) or abs(value) > most:
            raise refused(f"{place}.{name}", f"degrees in -{most:g}..{most:g}", value)
    if not _is_number(leaf.radius_m) or leaf.radius_m < 0:
        raise refused(f"{place}.radius_m", "metres, at least 0", leaf.radius_m)


def _check_text(text: object, place: str) -> None:
    if not isinstance(text, str):
        raise refused(place, "a text", text)
    if len(text) > MAX_TEXT_CHARACTERS:
        raise refused(place, f"at most {MAX_TEXT_CHARACTERS} characters", text)
    if _SURROGATE.search(text):
        raise refused(place, "a text without lone surrogates", text)


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(value, int):
        return LEAST_INTEGER <= value <= MOST_INTEGER
    return math.isfinite(value)

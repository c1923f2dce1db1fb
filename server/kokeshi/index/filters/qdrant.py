"""Filters as those of Qdrant, in the plain form of its REST interface.

Points have the payload keys `id`, `origin` and `metadata`. What was considered:

- Its conditions look into lists as ours do, and a condition that does not fit is false, so that
  negation is safe.
- `match` takes integers for integers only: numbers are asked as ranges of float64, beyond 2 to the
  power of 53 with bounds that are wider by one step.
- Ranges are of numbers, or of times that it parses itself: ranges of texts are not pushed.
- `is_empty` counts an empty list as missing: "exists" is not pushed, "not exists" is with more.
- A circle leaves out its rim and takes another radius of the Earth: it is asked a little wider.
- `match.prefix` is young: it is pushed only where the caller names "prefix" among the operators.
"""

import math
import re
import sys
from collections.abc import Iterable
from typing import Any, Final

from kokeshi.index.filters.grammar import (
    ID,
    ORIGIN,
    And,
    Equals,
    Exists,
    Filter,
    In,
    Leaf,
    Not,
    Or,
    Prefix,
    Range,
    Scalar,
    Within,
)
from kokeshi.index.filters.numbers import EXACT_INTEGERS
from kokeshi.index.filters.pushing import Reach, Split, split_by

OPERATORS: Final = frozenset({"eq", "in", "range", "exists", "geo", "and", "or", "not"})
METADATA: Final = "metadata"
OWN: Final = {ID: "id", ORIGIN: "origin"}
NOTHING: Final[dict[str, Any]] = {"has_id": []}
BOUNDS: Final = {"above": "gt", "least": "gte", "most": "lte", "below": "lt"}
MAX_NUMBER_SET: Final = 64  # numbers of a set that are asked one by one
WIDER: Final = 1 + 1e-5  # of a circle: radii of the Earth in use differ in the sixth digit
WIDER_M: Final = 1.0

_GREATEST: Final = sys.float_info.max
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_QUOTABLE_KEY: Final = re.compile(r'[^"\\\x00-\x1f\x7f]+')

Condition = dict[str, Any]


def split(asked: Filter, operators: frozenset[str] = OPERATORS) -> Split:
    """What `expression` can say of a filter, and what is left to `matches`."""
    return split_by(asked, operators, _reach)


def expression(pushed: Filter) -> Condition:
    """The pushed part of a filter for Qdrant; true for every point that fits, see `split`."""
    match pushed:
        case And(terms=terms):
            return {"must": [_condition(term) for term in terms]}
        case Or(terms=terms) if terms:
            return {"should": [_condition(term) for term in terms]}
        case Not(term=Exists()):
            return {"must": [_condition(pushed)]}
        case Not(term=term):
            return {"must_not": [_condition(term)]}
    return {"must": [_condition(pushed)]}


def _condition(term: Filter) -> Condition:
    """A condition that can stand in a list of them."""
    match term:
        case Or(terms=()):
            return NOTHING
        case Not(term=Exists(field=field)):
            return NOTHING if field in OWN else {"is_empty": {"key": _path(field)}}
        case And() | Or() | Not():
            return expression(term)
    return _leaf(_path(term.field), term)


def _reach(leaf: Leaf, is_negated: bool) -> Reach:
    if leaf.field in OWN:
        return _reach_of_own(leaf)
    if not all(map(_QUOTABLE_KEY.fullmatch, leaf.field.split("."))):
        return "none"
    if isinstance(leaf, Exists):
        return "wider" if is_negated else "none"
    found = _reach_of_comparison(leaf)
    return "none" if is_negated and found == "wider" else found


def _reach_of_own(leaf: Leaf) -> Reach:
    match leaf:
        case Equals(value=str()) | Prefix():
            return "exact"
        case In(values=values) if all(isinstance(value, str) for value in values):
            return "exact"
    return "none"


def _reach_of_comparison(leaf: Leaf) -> Reach:
    match leaf:
        case Equals(value=value):
            return "exact" if _is_exact(value) else "wider"
        case In(values=values):
            is_few = sum(not isinstance(value, str) for value in values) <= MAX_NUMBER_SET
            return "exact" if is_few and all(map(_is_exact, values)) else "wider"
        case Range():
            bounds = [getattr(leaf, name) for name in BOUNDS]
            if any(isinstance(bound, str) for bound in bounds):
                return "none"
            is_exact = all(bound is None or _is_exact(bound) for bound in bounds)
            return "exact" if is_exact else "wider"
        case Prefix():
            return "exact"
    return "wider"


def _is_exact(value: Scalar) -> bool:
    return isinstance(value, str) or abs(value) < EXACT_INTEGERS


def _leaf(key: str, leaf: Leaf) -> Condition:
    match leaf:
        case Equals(value=value):
            return _any(key, [value])
        case In(values=values):
            return _any(key, values)
        case Range():
            return _range(key, leaf)
        case Prefix(text=text):
            return {"key": key, "match": {"prefix": text}}
        case Within():
            centre = {"lat": leaf.latitude, "lon": leaf.longitude}
            radius = leaf.radius_m * WIDER + WIDER_M
            return {"key": key, "geo_radius": {"center": centre, "radius": radius}}
    raise TypeError(f"{leaf!r} was not pushed")


def _any(key: str, values: Iterable[Scalar]) -> Condition:
    values = list(values)
    texts = [value for value in values if isinstance(value, str)]
    truths = [value for value in values if isinstance(value, bool)]
    numbers = [value for value in values if not isinstance(value, str | bool)]
    tests: list[Condition] = [{"key": key, "match": {"value": truth}} for truth in truths]
    if texts:
        tests.append({"key": key, "match": {"any": texts}})
    if len(numbers) > MAX_NUMBER_SET:
        tests.append(_range(key, Range("", least=min(numbers), most=max(numbers))))
    else:
        tests += [_range(key, Range("", least=number, most=number)) for number in numbers]
    if len(tests) == 1:
        return tests[0]
    return {"should": tests} if tests else NOTHING


def _range(key: str, asked: Range) -> Condition:
    bounds = {}
    for name, sign in BOUNDS.items():
        bound = getattr(asked, name)
        if bound is not None and abs(bound) < EXACT_INTEGERS:
            bounds[sign] = float(bound)
        elif bound is not None:
            wide = math.nextafter(float(bound), -math.inf if sign[0] == "g" else math.inf)
            # past the last float64 there is nothing to leave out
            limit = math.copysign(min(abs(wide), _GREATEST), wide)
            bounds[f"{sign[:2]}e"] = limit
    return {"key": key, "range": bounds}


def _path(field: str) -> str:
    if field in OWN:
        return OWN[field]
    keys = (key if _PLAIN_KEY.fullmatch(key) else f'"{key}"' for key in field.split("."))
    return ".".join((METADATA, *keys))

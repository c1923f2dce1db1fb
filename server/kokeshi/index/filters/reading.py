"""Filters as JSON, both ways.

    {"and": [...]}, {"or": [...]}, {"not": {...}}
    {"field": "camera.model", "eq": "X100"}         a text, a number, true or false
    {"field": "colour", "in": ["red", "blue"]}
    {"field": "year", "gte": 1990, "lt": 2000}      gt, gte, lte, lt: numbers, or texts
    {"field": "sold", "exists": false}
    {"field": "name", "prefix": "ab"}
    {"field": "place", "within": {"lat": 48.1, "lon": 11.6, "radius_m": 500}}
    {"colour": "red", "year": {"gte": 1990}}        the same for short: all of them must hold

Several operators beside one "field" must all hold. Fields named "and", "or", "not" and "field" have
the long form only. {} fits every item.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from kokeshi.index.filters.checking import (
    BOUNDS,
    ROOT,
    check_depth,
    check_leaf,
    check_path,
    check_scalar,
    check_size,
    refused,
    terms_of,
)
from kokeshi.index.filters.grammar import (
    MAX_VALUES,
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
    Within,
)

OPERATORS: Final = ("eq", "in", *BOUNDS, "exists", "prefix", "within")
LISTS: Final[dict[str, type[And | Or]]] = {"and": And, "or": Or}
RESERVED: Final = frozenset({"and", "or", "not", "field"})


def filter_of(value: object) -> Filter:
    """A filter from JSON.

    Raises:
        InvalidRequestError: with the place of what is wrong.
    """
    asked = _read(value, ROOT, 1)
    check_size(terms_of(asked))
    return asked


def json_of(asked: Filter) -> dict[str, Any]:
    """A filter as JSON in the long form, the inverse of `filter_of`."""
    match asked:
        case And(terms=terms):
            return {"and": [json_of(term) for term in terms]}
        case Or(terms=terms):
            return {"or": [json_of(term) for term in terms]}
        case Not(term=term):
            return {"not": json_of(term)}
    return {"field": asked.field} | _operators(asked)


def _operators(leaf: Leaf) -> dict[str, Any]:
    match leaf:
        case Equals(value=value):
            return {"eq": value}
        case In(values=values):
            return {"in": list(values)}
        case Range():
            given = {key: getattr(leaf, name) for key, name in BOUNDS.items()}
            return {key: bound for key, bound in given.items() if bound is not None}
        case Exists():
            return {"exists": True}
        case Prefix(text=text):
            return {"prefix": text}
        case Within():
            centre = {"lat": leaf.latitude, "lon": leaf.longitude, "radius_m": leaf.radius_m}
            return {"within": centre}


def _read(value: object, place: str, depth: int) -> Filter:
    check_depth(depth, place)
    if not isinstance(value, Mapping):
        raise refused(place, "an object", value)
    named = RESERVED & value.keys()
    if not named:
        return _short(value, place)
    if "field" in named:
        check_path(value["field"], f"{place}.field")
        operators = {key: operand for key, operand in value.items() if key != "field"}
        return _conditions(value["field"], operators, place)
    if len(value) > 1:
        raise refused(place, f"{min(named)!r} alone", list(value))
    return _joint(min(named), value[min(named)], place, depth)


def _joint(name: str, inner: object, place: str, depth: int) -> Filter:
    if name == "not":
        return Not(_read(inner, f"{place}.not", depth + 1))
    if not isinstance(inner, list):
        raise refused(f"{place}.{name}", "a list of filters", inner)
    terms = [_read(term, f"{place}.{name}[{i}]", depth + 1) for i, term in enumerate(inner)]
    return LISTS[name](tuple(terms))


def _short(value: Mapping[Any, Any], place: str) -> Filter:
    terms: list[Filter] = []
    for field, asked in value.items():
        check_path(field, place)
        where = f"{place}.{field:.80}"
        if isinstance(asked, Mapping):
            terms.append(_conditions(field, asked, where))
        else:
            check_scalar(asked, where)
            terms.append(Equals(field, asked))
    return terms[0] if len(terms) == 1 else And(tuple(terms))


def _conditions(field: str, operators: Mapping[Any, Any], place: str) -> Filter:
    """Conditions of one field, all of which must hold; bounds are of one range."""
    unknown = [key for key in operators if key not in OPERATORS]
    if unknown or not operators:
        got = unknown[0] if unknown else dict(operators)
        raise refused(place, f"one of {', '.join(OPERATORS)}", got)
    bounds = {BOUNDS[key]: bound for key, bound in operators.items() if key in BOUNDS}
    for key, bound in operators.items():
        if key in BOUNDS and bound is None:
            raise refused(f"{place}.{key}", "a number or a text", bound)
    terms: list[Filter] = [
        _MAKERS[key](field, asked, f"{place}.{key}")
        for key, asked in operators.items()
        if key not in BOUNDS
    ]
    if bounds:
        terms.append(Range(field, **bounds))
    for term in terms:
        leaf = term.term if isinstance(term, Not) else term
        check_leaf(cast(Leaf, leaf), place)
    return terms[0] if len(terms) == 1 else And(tuple(terms))


def _set(field: str, values: object, place: str) -> In:
    if not isinstance(values, list):
        raise refused(place, "a list of values", values)
    if len(values) > MAX_VALUES:
        raise refused(place, f"at most {MAX_VALUES} values", len(values))
    return In(field, tuple(values))


def _exists(field: str, is_there: object, place: str) -> Filter:
    if not isinstance(is_there, bool):
        raise refused(place, "true or false", is_there)
    return Exists(field) if is_there else Not(Exists(field))


def _within(field: str, circle: object, place: str) -> Within:
    keys = ("lat", "lon", "radius_m")
    if not isinstance(circle, Mapping) or set(circle) != set(keys):
        raise refused(place, f"an object of {', '.join(keys)}", circle)
    return Within(field, *(circle[key] for key in keys))


_MAKERS: Final[dict[str, Callable[[str, Any, str], Filter]]] = {
    "eq": lambda field, value, _: Equals(field, value),
    "in": _set,
    "exists": _exists,
    "prefix": lambda field, text, _: Prefix(field, text),
    "within": _within,
}

"""What a filter means, said once in plain Python, one item at a time.

For what a remote engine cannot evaluate, and as the oracle of the columns.

- A field that is missing, or null, fits nothing but `Not` of something.
- True is not 1; 1 is 1.0; integers compare exactly, however large.
- Texts compare by code points, so RFC 3339 times in one zone and precision compare as times.
- A field that holds a list fits where one of its values does; every bound of a range must hold for
  one and the same value.
- Keys that hold a dot or a NUL, are empty, begin with "$" at the top, or lie deeper than
  MAX_PATH_KEYS cannot be asked for; neither can keys inside a list.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kokeshi.index.filters.geo import EARTH_RADIUS_M, point
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


def matches(asked: Filter, item_id: str, origin: str, metadata: Mapping[str, Any]) -> bool:
    """True where an item fits a filter, which `check` has passed."""
    match asked:
        case And(terms=terms):
            return all(matches(term, item_id, origin, metadata) for term in terms)
        case Or(terms=terms):
            return any(matches(term, item_id, origin, metadata) for term in terms)
        case Not(term=term):
            return not matches(term, item_id, origin, metadata)
    own = {ID: item_id, ORIGIN: origin}
    value = own[asked.field] if asked.field in own else value_at(metadata, asked.field)
    return fits(asked, value)


def fits(leaf: Leaf, value: object) -> bool:
    """True where the value of a field fits a condition; None: the field is not there."""
    if isinstance(leaf, Exists):
        return value is not None
    values: Sequence[object] = value if isinstance(value, list) else [value]
    return any(_fits_one(leaf, one) for one in values)


def value_at(metadata: Mapping[str, Any], path: str) -> object:
    """What stands at a path; None: nothing."""
    value: object = metadata
    for key in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _fits_one(leaf: Leaf, value: object) -> bool:
    match leaf:
        case Equals(value=wanted):
            return is_equal(value, wanted)
        case In(values=wanted_values):
            return any(is_equal(value, wanted) for wanted in wanted_values)
        case Range():
            return _in_range(leaf, value)
        case Prefix(text=text):
            return isinstance(value, str) and value.startswith(text)
        case Within():
            place = point(value)
            return place is not None and distance_m(leaf, place) <= leaf.radius_m
        case Exists():
            return value is not None


def is_equal(value: object, wanted: Scalar) -> bool:
    """True for equal values of one type, where integers and floats are of one."""
    return _family(value) is _family(wanted) and value == wanted


def distance_m(asked: Within, place: tuple[float, float]) -> float:
    """Metres along a great circle (the haversine, R. W. Sinnott, Sky and Telescope 68, 1984)."""
    latitude, longitude = map(math.radians, place)
    from_latitude, from_longitude = math.radians(asked.latitude), math.radians(asked.longitude)
    across = math.sin((latitude - from_latitude) / 2) ** 2
    along = math.sin((longitude - from_longitude) / 2) ** 2
    chord = across + math.cos(latitude) * math.cos(from_latitude) * along
    return 2 * EARTH_RADIUS_M * math.asin(math.sqrt(min(chord, 1.0)))


def _in_range(leaf: Range, value: Any) -> bool:  # noqa: ANN401 - any JSON value
    bounds = [
        bound for bound in (leaf.above, leaf.least, leaf.most, leaf.below) if bound is not None
    ]
    if not bounds or _family(value) is not _family(bounds[0]):
        return False
    return (
        (leaf.above is None or value > leaf.above)
        and (leaf.least is None or value >= leaf.least)
        and (leaf.most is None or value <= leaf.most)
        and (leaf.below is None or value < leaf.below)
    )


def _family(value: object) -> type | None:
    if isinstance(value, bool):
        return bool
    if isinstance(value, int | float):
        return float
    return str if isinstance(value, str) else None

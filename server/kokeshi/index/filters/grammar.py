"""What can be asked of an item's metadata: frozen records, which `check` must pass before use.

A field is a path into the metadata with dots ("camera.model"); "$id" and "$origin" name the item's
own. A field that holds a list fits where one of its values does.
"""

from dataclasses import dataclass
from typing import Final

Scalar = str | int | float | bool
ID: Final = "$id"
ORIGIN: Final = "$origin"
MAX_TERMS: Final = 256  # records of one filter
MAX_DEPTH: Final = 16  # of conditions in conditions
MAX_VALUES: Final = 10_000  # of all sets of one filter together
MAX_PATH_KEYS: Final = 16  # what lies deeper in the metadata cannot be asked for
MAX_PATH_CHARACTERS: Final = 512


@dataclass(frozen=True)
class Equals:
    """The field is this value; True is not 1."""

    field: str
    value: Scalar


@dataclass(frozen=True)
class In:
    """The field is one of these values."""

    field: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class Range:
    """The field is a number within bounds, or a text within bounds of code points."""

    field: str
    above: float | str | None = None
    least: float | str | None = None
    most: float | str | None = None
    below: float | str | None = None


@dataclass(frozen=True)
class Exists:
    """The field is there, and not null."""

    field: str


@dataclass(frozen=True)
class Prefix:
    """The field is a text that begins so."""

    field: str
    text: str


@dataclass(frozen=True)
class Within:
    """The field is {"lat": degrees, "lon": degrees} no farther than a radius, on a sphere."""

    field: str
    latitude: float
    longitude: float
    radius_m: float


@dataclass(frozen=True)
class And:
    """All fit; none given: every item does."""

    terms: "tuple[Filter, ...]"


@dataclass(frozen=True)
class Or:
    """One fits; none given: no item does."""

    terms: "tuple[Filter, ...]"


@dataclass(frozen=True)
class Not:
    """It does not fit."""

    term: "Filter"


Leaf = Equals | In | Range | Exists | Prefix | Within
Filter = Leaf | And | Or | Not

"""Bounds of a plugin's settings, checked before any work begins."""

from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from kokeshi.errors import InvalidRequestError

LONGEST_TEXT: Final = 1_000  # characters of a setting
LONGEST_LIST: Final = 100  # values of one
SHOWN: Final = 40  # characters of a wrong value that an error tells


@dataclass(frozen=True)
class Bounds:
    """The numbers that a setting may be: what time and memory carry, and the method makes sense of.

    Attributes:
        is_open: the two ends are out.
    """

    least: float
    most: float
    is_open: bool = False

    def holds(self, value: float) -> bool:
        """Whether a number is one of them; NaN never is."""
        if self.is_open:
            return self.least < value < self.most
        return self.least <= value <= self.most

    def __str__(self) -> str:
        if self.is_open:
            return f"above {self.least} and below {self.most}"
        return f"from {self.least} to {self.most}"


SHARE: Final = Bounds(0, 1)
RATE: Final = Bounds(0, 1, is_open=True)


def check_setting(name: str, default: object, value: object, bounds: Bounds | None) -> None:
    """Refuses a value that a setting cannot have.

    Args:
        name: of the setting, as an error tells it.
        default: of the setting; the value is of its type.
        value: that the caller gave.
        bounds: of a number, and of each in a list; None: any finite one.

    Raises:
        InvalidRequestError: it is of another type, too long, or out of bounds.
    """
    _check_type(name, default, value)
    many = isinstance(value, list | tuple)
    longest = LONGEST_LIST if many else LONGEST_TEXT
    if isinstance(value, str | list | tuple) and len(value) > longest:
        raise InvalidRequestError(f"{name} has a length of at most {longest}, got {len(value)}")
    for each in value if isinstance(value, list | tuple) else [value]:
        if many and isinstance(default, tuple) and default:
            _check_type(name, default[0], each)
        if isinstance(each, int | float) and not isinstance(each, bool):
            _check_number(name, each, bounds)


def _check_type(name: str, default: object, value: object) -> None:
    """A whole number stands for a real one, a list for a tuple; True stands for no number."""
    wanted = type(default)
    accepted = {float: (int, float), tuple: (list, tuple)}.get(wanted, wanted)
    if isinstance(value, bool) != (wanted is bool) or not isinstance(value, accepted):
        raise InvalidRequestError(f"{name} is of type {wanted.__name__}, got {_told(value)}")


def _check_number(name: str, value: float, bounds: Bounds | None) -> None:
    if bounds is not None and not bounds.holds(value):
        raise InvalidRequestError(f"{name} is {bounds}, got {_told(value)}")
    if isinstance(value, float) and not isfinite(value):
        raise InvalidRequestError(f"{name} is a finite number, got {_told(value)}")


def _told(value: Any) -> str:  # noqa: ANN401 - whatever came
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."

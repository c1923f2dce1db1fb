"""A curve that can be kept: recall and time of each way to search a collection, as JSON."""

from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

import orjson

from kokeshi.index.found import RecallEstimate
from kokeshi.index.info import CollectionInfo
from kokeshi.index.recall.dials import Dial, Setting, Want
from kokeshi.index.recall.interval import Tally

FORMAT: Final = 1


class Keeper(Protocol):
    """Where curves are kept between starts."""

    def load(self, collection: str) -> bytes | None:
        """What was kept of a collection; None: nothing."""

    def save(self, collection: str, curve: bytes) -> None:
        """Keeps a curve in the place of an earlier one."""

    def close(self) -> None:
        """Lets go of the place."""


@dataclass(frozen=True)
class Measure:
    """One way to search: what its rows as queries told.

    Attributes:
        times_s: of single queries, the last ones.
    """

    want: Want
    setting: Setting
    dial: Dial
    tally: Tally
    times_s: tuple[float, ...]
    is_exact: bool

    @property
    def recall(self) -> RecallEstimate | None:
        """What it found; None: too little was measured."""
        return RecallEstimate(1.0, 1.0, 1.0, 0) if self.is_exact else self.tally.estimate()


@dataclass(frozen=True)
class Curve:
    """What was measured of a collection, and in which state it was then.

    Attributes:
        space: see `CollectionSpec`.
        kind: see `CollectionInfo`.
        count: see `CollectionInfo`.
    """

    space: str
    kind: str
    count: int
    measures: tuple[Measure, ...]

    def fits(self, info: CollectionInfo, growth: float) -> bool:
        """True while the collection is much as it was."""
        is_same = (self.space, self.kind) == (info.spec.space, info.kind)
        return is_same and self.count / growth <= info.count <= self.count * growth

    def encoded(self) -> bytes:
        """As JSON."""
        return orjson.dumps({"format": FORMAT, **asdict(self)})


def decoded(curve: bytes) -> Curve | None:
    """A curve from JSON; None where it is of another format."""
    try:
        values = orjson.loads(curve)
        if values.pop("format") != FORMAT:
            return None
        measures = tuple(map(_measure, values.pop("measures")))
        return Curve(**values, measures=measures)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _measure(values: dict[str, Any]) -> Measure:
    return Measure(
        want=Want(**values["want"]),
        setting=Setting(**values["setting"]),
        dial=Dial(**values["dial"]),
        tally=Tally(**values["tally"]),
        times_s=tuple(values["times_s"]),
        is_exact=values["is_exact"],
    )

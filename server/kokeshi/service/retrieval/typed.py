"""Answers of the calls that have a type: what a retriever must tell to stand behind each.

A retriever may tell more than these; `ask` gives all of it.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kokeshi.errors import InvalidRequestError
from kokeshi.service.retrieval.records import Answered

Ends = Annotated[list[float], Field(min_length=2, max_length=2)]  # of an interval


class Typed(BaseModel):
    """Part of an answer; `retriever` gave it at `dimension`, having seen write `sequence`."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Answer(Typed):
    """What every answer tells."""

    retriever: str
    dimension: int
    sequence: int


class Rate(Typed):
    """A share that was counted in `count` trials, with its 95 % interval."""

    value: float
    low: float
    high: float
    count: int


class Verified(Answer):
    """Whether two are the same.

    Attributes:
        probability: that they are, given the `prior`.
        upper_threshold: of the score, from which on they are the same.
        false_match_rate: of different pairs at that threshold, held out.
        lower_threshold: below it they are different.
        false_non_match_rate: of same pairs at that one, held out.
        references: items that were compared.
        of: items that the subject has; see `showing.references_of`.
    """

    verdict: Literal["same", "different", "uncertain"]
    score: float
    rule: str = ""
    probability: float
    probability_interval: Ends
    prior: float = 0.5
    upper_threshold: float
    false_match_rate: Rate
    lower_threshold: float
    false_non_match_rate: Rate
    references: int
    of: int


class Place(Typed):
    """Degrees."""

    latitude: float
    longitude: float


class Located(Answer):
    """Where a picture was taken; none where `abstained` says why.

    `support` is the share of the vote that is near.
    """

    place: Place | None
    support: float
    voters: Sequence[str]
    snapped_to: str | None = None
    abstained: str | None = None


class Voted(Answer):
    """The label that the neighbours vote for; none where `abstained` says why."""

    label: str | None
    share: float
    shares: Mapping[str, float]
    voters: int
    abstained: str = ""


class Recognised(Answer):
    """Whether a query is like what is stored, and how often the threshold errs, held out."""

    is_known: bool
    score: float | None
    threshold: float
    kind: str = ""
    false_alarms: Rate | None = None
    caught: Rate | None = None


class Associated(Answer):
    """The pattern that a query recalls; a high `energy` says that nothing stored is like it."""

    pattern: Sequence[float]
    weights: Sequence[float]
    neighbours: Sequence[str]
    energy: float
    beta: float
    updates: int = 1
    labels: Mapping[str, float] = {}
    missing_mass_at_most: float | None = None


A = TypeVar("A", bound=Answer)


def read(kind: type[A], answered: Answered, **more: object) -> A:
    """A retriever's answer as a type, with what else is known.

    Raises:
        InvalidRequestError: the retriever answers something else.
    """
    told: dict[str, Any] = {
        "neighbours": answered.neighbours,
        **answered.answer,
        "retriever": answered.retriever,
        "dimension": answered.dimension,
        "sequence": answered.sequence,
        **more,
    }
    if kind is Located and isinstance(told.get("place"), Sequence):
        told["place"] = dict(zip(("latitude", "longitude"), told["place"], strict=True))
    try:
        return kind.model_validate(told)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise InvalidRequestError(
            f"retriever {answered.retriever!r} does not answer this call: its {place!r} is missing "
            "or of another type"
        ) from error

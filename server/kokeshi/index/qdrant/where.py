"""Which points a call may see: what Qdrant is told, and what is left to check here."""

from dataclasses import dataclass
from typing import Any, Self

from kokeshi.index.checks import check_who_and_what
from kokeshi.index.distributed.where import Allowed
from kokeshi.index.filters import Filter
from kokeshi.index.filters.qdrant import expression, split


@dataclass(frozen=True)
class Where(Allowed):
    """A tenant's points that fit a filter.

    Attributes:
        conditions: all of which hold, in the plain form of Qdrant's own; they always name the
            tenant, so that no call can forget to.
    """

    conditions: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, tenant: str, asked: Filter | None, operators: frozenset[str]) -> Self:
        """What Qdrant evaluates of a filter, and what is left.

        Args:
            tenant: whose points.
            asked: the filter.
            operators: that this Qdrant knows.

        Raises:
            InvalidRequestError: no filter, or no tenant, can be so.
        """
        check_who_and_what(tenant, asked)
        own = {"key": "tenant", "match": {"value": tenant}}
        if asked is None:
            return cls(tenant, None, True, (own,))
        pushed, rest = split(asked, operators)
        more = () if pushed is None else (expression(pushed),)
        return cls(tenant, asked, rest is None, (own, *more))

    def filter_of(self, *more: dict[str, Any]) -> Any:  # noqa: ANN401 - a qdrant_client type
        """The conditions, and more of them, as a `qdrant_client.models.Filter`."""
        from qdrant_client import models

        return models.Filter(must=[*self.conditions, *more])

"""Which rows a call may see: what Milvus is told, and what is left to check here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from kokeshi.index.checks import check_who_and_what
from kokeshi.index.filters import Filter, matches
from kokeshi.index.filters.milvus import expression, split
from kokeshi.index.milvus.rows import tenant_key

LISTS: Final = "lists"  # field that is true for metadata with a list, see `expression`


@dataclass(frozen=True)
class Where:
    """A tenant's rows that fit a filter.

    Attributes:
        expression: Milvus's boolean expression; it always names the tenant, so that no call can
            forget to.
        owner: what the field `tenant` holds.
        filter: the whole of it.
        is_whole: the expression alone decides.
    """

    expression: str
    owner: str
    filter: Filter | None
    is_whole: bool

    @classmethod
    def of(cls, tenant: str, asked: Filter | None) -> Self:
        """What Milvus evaluates of a filter, and what is left.

        Raises:
            InvalidRequestError: no filter, or no tenant, can be so.
        """
        check_who_and_what(tenant, asked)
        owner = tenant_key(tenant)
        own = f'tenant == "{owner}"'
        if asked is None:
            return cls(own, owner, None, is_whole=True)
        pushed, rest = split(asked)
        text = own if pushed is None else f"{own} and ({expression(pushed, lists=LISTS)})"
        return cls(text, owner, asked, is_whole=rest is None)

    def narrowed(self, condition: str) -> str:
        """The expression with one more condition."""
        return f"{self.expression} and {condition}"

    def fits(self, row: Mapping[str, Any]) -> bool:
        """Checks a row that Milvus gave; it has tenant, id, origin and metadata.

        The whole filter, also where the expression decides: no answer may hold a row that does not
        fit, whatever an engine makes of an expression.
        """
        if row["tenant"] != self.owner:
            return False
        return self.filter is None or matches(
            self.filter, row["id"], row["origin"], row["metadata"]
        )

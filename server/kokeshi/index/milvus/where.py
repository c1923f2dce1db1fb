"""Which rows a call may see: what Milvus is told, and what is left to check here."""

from dataclasses import dataclass
from typing import Final, Self

from kokeshi.index.checks import check_who_and_what
from kokeshi.index.distributed.where import Allowed
from kokeshi.index.filters import Filter
from kokeshi.index.filters.milvus import expression, split
from kokeshi.index.milvus.rows import tenant_key

LISTS: Final = "lists"  # field that is true for metadata with a list, see `expression`


@dataclass(frozen=True)
class Where(Allowed):
    """A tenant's rows that fit a filter.

    Attributes:
        expression: Milvus's boolean expression; it always names the tenant, so that no call can
            forget to.
    """

    expression: str

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
            return cls(owner, None, True, own)
        pushed, rest = split(asked)
        text = own if pushed is None else f"{own} and ({expression(pushed, lists=LISTS)})"
        return cls(owner, asked, rest is None, text)

    def narrowed(self, condition: str) -> str:
        """The expression with one more condition."""
        return f"{self.expression} and {condition}"

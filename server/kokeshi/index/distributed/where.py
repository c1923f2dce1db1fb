"""Whether a row that a server gave may be shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kokeshi.index.filters import Filter, matches


@dataclass(frozen=True)
class Allowed:
    """A tenant's rows that fit a filter.

    Attributes:
        owner: what the server's field `tenant` holds.
        filter: the whole of it, also what the server was told.
        is_whole: what the server was told decides alone.
    """

    owner: str
    filter: Filter | None
    is_whole: bool

    def fits(self, row: Mapping[str, Any]) -> bool:
        """Checks a row that has tenant, id, origin and metadata.

        The whole filter, also where the server decides: no answer may hold a row that does not
        fit, whatever an engine makes of a condition.
        """
        if row["tenant"] != self.owner:
            return False
        return self.filter is None or matches(
            self.filter, row["id"], row["origin"], row["metadata"]
        )

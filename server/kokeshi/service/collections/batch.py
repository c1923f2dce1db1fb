"""A batch of a stream on its way: what of it can be stored, and what becomes of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from kokeshi import index
from kokeshi.errors import InvalidRequestError, KokeshiError
from kokeshi.index import checks
from kokeshi.service.collection_types import Ingested, ItemError

ROUNDING_SHARE: Final = 0.01  # of a vector's length, by which it differs from itself made again


@dataclass
class Work:
    """A batch on its way.

    Attributes:
        rows: what can be stored, by position in the batch.
        errors: of the others.
        is_embedded: some vectors were made here, and may differ in a last bit the next time.
        writes: of parts of it that are stored.
    """

    offset: int
    rows: dict[int, index.Item] = field(default_factory=dict)
    errors: dict[int, ItemError] = field(default_factory=dict)
    is_embedded: bool = False
    sequence: int = 0
    count: int = 0
    writes: int = 0

    @property
    def place(self) -> str:
        """Of the next write in its stream.

        The first one that is stored has the batch's own: other items that come under the offset
        are then known to be others, whatever was refused of these.
        """
        return f"{self.offset}.{self.writes}" if self.writes else f"{self.offset}"

    def stored(self, count: int, sequence: int) -> None:
        """Counts a write."""
        self.count += count
        self.sequence = max(self.sequence, sequence)
        self.writes += 1

    def refuse(self, position: int, error: KokeshiError, item_id: str = "") -> None:
        """Leaves an item out; `item_id` is that of one that has no row."""
        row = self.rows.pop(position, None)
        told = item_id if row is None else row.id
        self.errors[position] = ItemError(position, told, error.code, str(error))

    def answer(self) -> Ingested:
        """What the client hears."""
        errors = [self.errors[position] for position in sorted(self.errors)]
        return Ingested(self.offset, self.sequence, self.count, errors)


def refuse_bad(spec: index.CollectionSpec, work: Work) -> bool:
    """Leaves out every item that can never be stored; false where there is none."""
    seen: set[str] = set()
    is_any = False
    for position, row in list(work.rows.items()):
        try:
            checks.check_ids([row.id])
            checks.encode_metadata(row.id, row.metadata)
            checks.stack_vectors(spec, [row])
            if row.id in seen:
                raise InvalidRequestError(f"id {row.id!r} comes twice in one batch")
            seen.add(row.id)
        except InvalidRequestError as error:
            is_any = True
            work.refuse(position, error)
    return is_any


def are_those(there: Sequence[index.Item], rows: Sequence[index.Item]) -> bool:
    """True where items are stored already, but for how their vectors were rounded."""
    return len(there) == len(rows) and all(
        item.metadata == row.metadata and _is_near(item.vector, row.vector)
        for item, row in zip(there, rows, strict=True)
    )


def _is_near(stored: npt.ArrayLike | None, made: npt.ArrayLike | None) -> bool:
    one, two = np.asarray(stored, np.float64), np.asarray(made, np.float64)
    return bool(np.linalg.norm(one - two) <= ROUNDING_SHARE * np.linalg.norm(one))

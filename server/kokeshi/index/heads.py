"""What the database says of rows that searches found lately, kept in memory.

A row number never comes back and its row never changes, so what was read once is right for as long
as a search finds the row.
"""

import threading
from collections.abc import Iterable
from typing import Final

import numpy as np

from kokeshi.index.reads import Ids, Reads
from kokeshi.index.rows import RowHead

HEAD_BYTES: Final = 512  # of a head in memory, about, but for its metadata and id


class Heads:
    """Heads of rows, of which those that nobody asks for are forgotten.

    Args:
        reads: where they are read from.
        most_bytes: that are kept.
    """

    def __init__(self, reads: Reads, most_bytes: int) -> None:
        self._reads = reads
        self._most_bytes = most_bytes // 2  # of one of two generations
        self._young: dict[int, RowHead] = {}
        self._old: dict[int, RowHead] = {}
        self._young_bytes = 0
        self._adding = threading.Lock()

    def by_rows(self, collection: int, rows: Ids) -> dict[int, RowHead]:
        """See `Reads.heads_by_rows`."""
        young, found = self._young, {}
        for row in rows.tolist():
            head = young.get(row)
            if head is not None:
                found[row] = head
        if len(found) == len(rows):
            return found
        missing = [row for row in rows.tolist() if row not in found]
        return found | self._older(collection, missing)

    def _older(self, collection: int, rows: list[int]) -> dict[int, RowHead]:
        """Heads of the older generation and of the database, which are young from now on."""
        old = self._old
        found = {row: old[row] for row in rows if row in old}
        unknown = [row for row in rows if row not in found]
        if unknown:
            found |= self._reads.heads_by_rows(collection, np.array(unknown, np.int64))
        self._add(found.values())
        return found

    def _add(self, heads: Iterable[RowHead]) -> None:
        with self._adding:
            for head in heads:
                self._young[head.row] = head
                self._young_bytes += HEAD_BYTES + len(head.metadata) + len(head.id)
            if self._young_bytes > self._most_bytes:
                self._old, self._young, self._young_bytes = self._young, {}, 0

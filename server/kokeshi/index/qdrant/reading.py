"""Points of a collection by key, by condition, by the order in which they were written."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kokeshi.index.qdrant.client import Client, Raw
from kokeshi.index.qdrant.layout import Layout
from kokeshi.index.qdrant.points import Row, row_of
from kokeshi.index.qdrant.where import Where

FLOAT_BYTES: Final = 4
MAX_ROWS: Final = 10_000  # of one answer
PAYLOAD: Final = ["tenant", "id", "origin", "seq", "metadata", "json"]
_ORDINAL_BITS: Final = 59  # of at most 18 decimal digits


@dataclass(frozen=True)
class Reader:
    """Reads that see every write that was acknowledged before they began.

    Attributes:
        client: of Qdrant.
        answer_bytes: most bytes of vectors that one answer brings.
    """

    client: Client
    answer_bytes: int

    def rows_at_once(self, layout: Layout) -> int:
        """Rows with vectors that fit one answer."""
        row_bytes = FLOAT_BYTES * layout.spec.dim * len(layout.read_vectors)
        return max(1, min(MAX_ROWS, self.answer_bytes // row_bytes))

    def by_keys(
        self, layout: Layout, keys: Sequence[str], *, with_vectors: bool = False
    ) -> dict[str, Row]:
        """Rows by id of their points; unknown ones are left out."""
        step = self.rows_at_once(layout) if with_vectors else MAX_ROWS
        found: dict[str, Row] = {}
        for start in range(0, len(keys), step):
            records = self.call(
                layout,
                "retrieve",
                ids=keys[start : start + step],
                with_payload=PAYLOAD,
                with_vectors=layout.read_vectors if with_vectors else False,
                **consistency(layout),
            )
            rows = (row_of(record, with_vector=with_vectors) for record in records)
            found.update((row["key"], row) for row in rows)
        return found

    def count(self, layout: Layout, where: Where | None) -> int:
        """Points that fit the conditions; None: all."""
        fitting = None if where is None else where.filter_of()
        return int(self.call(layout, "count", count_filter=fitting, exact=True).count)

    def all(self, layout: Layout, where: Where, *, with_vectors: bool) -> Iterator[list[Row]]:
        """Every row that fits, in pages, in no order of use."""
        offset: Any = None
        while True:
            rows, offset = self._page(
                layout,
                where.filter_of(),
                min(1000, self.rows_at_once(layout)),
                with_vectors=with_vectors,
                offset=offset,
            )
            yield [row for row in rows if where.fits(row)]
            if offset is None:
                return

    def after(
        self,
        layout: Layout,
        where: Where,
        last: tuple[int, int],
        limit: int,
        *,
        with_vectors: bool,
    ) -> tuple[list[Row], tuple[int, int] | None]:
        """Up to `limit` rows behind one, in the order of their numbers.

        Two gateways may have given one number: rows of one number stand in the order of
        `ordinal`, and an answer that ends among them is asked for again with more rows.

        Args:
            layout: of the collection.
            where: which rows.
            last: number and ordinal of the row to go on from.
            limit: most rows.
            with_vectors: with their vectors.

        Returns:
            The rows that fit, and where to go on; None after the last row.
        """
        limit = min(limit, self.rows_at_once(layout))
        asked = limit + 2
        while True:
            found = self._in_order(layout, where, last[0], asked, with_vectors=with_vectors)
            is_last = len(found) < asked
            # the last number of a full answer may have more rows than came
            whole = found if is_last else [row for row in found if row["seq"] < found[-1]["seq"]]
            rows = sorted((row for row in whole if _place(row) > last), key=_place)
            if is_last or rows:
                break
            asked *= 2
        is_last = is_last and len(rows) <= limit
        rows = rows[:limit]
        fitting = [row for row in rows if where.fits(row)]
        return fitting, None if is_last else _place(rows[-1])

    def _in_order(
        self, layout: Layout, where: Where, seq: int, limit: int, *, with_vectors: bool
    ) -> list[Row]:
        from qdrant_client import models

        rows, _ = self._page(
            layout,
            where.filter_of({"key": "seq", "range": {"gte": seq}}),
            limit,
            with_vectors=with_vectors,
            order_by=models.OrderBy(key="seq", direction=models.Direction.ASC),
        )
        return rows

    def _page(
        self, layout: Layout, fitting: Raw, limit: int, *, with_vectors: bool, **asked: Raw
    ) -> tuple[list[Row], Raw]:
        records, offset = self.call(
            layout,
            "scroll",
            scroll_filter=fitting,
            limit=limit,
            with_payload=PAYLOAD,
            with_vectors=layout.read_vectors if with_vectors else False,
            **asked,
            **consistency(layout),
        )
        return [row_of(record, with_vector=with_vectors) for record in records], offset

    def call(self, layout: Layout, method: str, **asked: Raw) -> Raw:
        """See `Client.call`."""
        return self.client.call(method, layout.spec.name, collection_name=layout.name, **asked)


def consistency(layout: Layout) -> dict[str, Raw]:
    """How many replicas a read asks: so many that one of them has every acknowledged write."""
    if layout.replicas < 2:  # noqa: PLR2004 - one copy is the majority
        return {}
    from qdrant_client import models

    return {"consistency": models.ReadConsistencyType.MAJORITY}


def _place(row: Row) -> tuple[int, int]:
    return row["seq"], uuid.UUID(row["key"]).int >> (128 - _ORDINAL_BITS)

"""Rows of a collection by key, by expression, by the order in which they were written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kokeshi.index.milvus.client import STRONG, Client
from kokeshi.index.milvus.layout import Layout
from kokeshi.index.milvus.where import Where

Row = dict[str, Any]
FIELDS: Final = ("key", "tenant", "id", "origin", "seq", "metadata")
MAX_ROWS: Final = 16_384  # Milvus's limit of a query's answer
FLOAT_BYTES: Final = 4
# of what a window of numbers is expected to hold: it is cut again when it holds more than asked
WINDOW_SHARE: Final = 0.7


@dataclass(frozen=True)
class Reader:
    """Reads that see every write that was acknowledged before they began.

    Attributes:
        client: of the server.
        answer_bytes: most bytes of vectors that one answer brings.
    """

    client: Client
    answer_bytes: int

    def rows_at_once(self, layout: Layout) -> int:
        """Rows with vectors that fit one answer."""
        return max(1, min(MAX_ROWS, self.answer_bytes // (FLOAT_BYTES * layout.spec.dim)))

    def by_keys(
        self, layout: Layout, keys: Sequence[str], *, with_vectors: bool = False
    ) -> dict[str, Row]:
        """Rows by primary key; unknown keys are left out."""
        step = self.rows_at_once(layout) if with_vectors else MAX_ROWS
        found: dict[str, Row] = {}
        for start in range(0, len(keys), step):
            wanted = ", ".join(f'"{key}"' for key in keys[start : start + step])
            rows = self._query(layout, f"key in [{wanted}]", _fields(with_vectors), step)
            found.update({row["key"]: row for row in rows})
        return found

    def count(self, layout: Layout, expression: str) -> int:
        """Rows that fit an expression; "" fits all."""
        (row,) = self._query(layout, expression, ["count(*)"], None)
        return int(row["count(*)"])

    def all(self, layout: Layout, where: Where, *, with_vectors: bool) -> Iterator[list[Row]]:
        """Every row that fits, in pages, in no order."""
        pages = self.client.pages(
            layout.spec.name,
            collection_name=layout.name,
            filter=where.expression,
            batch_size=min(1000, self.rows_at_once(layout)),
            output_fields=_fields(with_vectors),
            consistency_level=STRONG,
        )
        for page in pages:
            yield [row for row in page if where.fits(row)]

    def after(
        self, layout: Layout, where: Where, seq: int, limit: int, *, with_vectors: bool
    ) -> tuple[list[Row], int | None]:
        """Up to `limit` rows with the least numbers above `seq`, ascending.

        Milvus answers in no useful order. So the numbers are cut to a window that holds no more
        rows than one answer; of a window that holds more, any answer is a sample from which a
        narrower one is guessed.

        Returns:
            The rows that fit, and the number to go on from; None after the last row.
        """
        limit = min(limit, self.rows_at_once(layout))
        top: int | None = None
        while True:
            condition = f"seq > {seq}" + ("" if top is None else f" and seq <= {top}")
            expression = where.narrowed(condition)
            sample = self._query(layout, expression, ["seq"], limit + 1)
            if len(sample) <= limit:
                break
            share = WINDOW_SHARE * limit / max(self.count(layout, expression), limit + 1)
            top = sorted(row["seq"] for row in sample)[int(share * len(sample))]
        if not sample:
            return [], top
        rows = self._query(layout, expression, _fields(with_vectors), limit)
        rows.sort(key=lambda row: (row["seq"], row["key"]))
        return [row for row in rows if where.fits(row)], top

    def _query(
        self, layout: Layout, expression: str, fields: Sequence[str], limit: int | None
    ) -> list[Row]:
        bounds: dict[str, Any] = {} if limit is None else {"limit": limit}
        return list(
            self.client.call(
                "query",
                layout.spec.name,
                collection_name=layout.name,
                filter=expression,
                output_fields=list(fields),
                consistency_level=STRONG,
                **bounds,
            )
        )


def _fields(with_vectors: bool) -> list[str]:
    return [*FIELDS, "full"] if with_vectors else list(FIELDS)

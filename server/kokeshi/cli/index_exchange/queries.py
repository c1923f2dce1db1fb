"""Queries in a file or a folder: those of `kokeshi index import`, without ids."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kokeshi.cli.index_exchange.batches import Batch, Portion, batches
from kokeshi.cli.index_exchange.fields import Fields, Record
from kokeshi.cli.index_exchange.sources import Source, opened, read_on
from kokeshi.cli.inputs import BATCH
from kokeshi.errors import SetupError
from kokeshi.gateway.client import Client
from kokeshi.service.types import Input, Tensor

SEED: Final = 0  # of the draw: the same file gives the same queries


@dataclass(frozen=True)
class Queries:
    """Vectors of one space.

    Attributes:
        of: how many there are, of which these were drawn.
    """

    vectors: list[Tensor]
    space: str
    of: int


def queries_in(path: Path, client: Client, collection: str, most: int, space: str = "") -> Queries:
    """Queries for a collection; images and texts are embedded by its model.

    Args:
        path: .parquet, .npy, .npz, .ndjson, .jsonl, or a folder of images.
        client: of the server.
        collection: by name.
        most: queries; of more, so many are drawn, all as likely.
        space: of vectors; "": as the file says, else the collection's.

    Raises:
        SetupError: the path is no source, or a record of it is no query.
    """
    source = opened(path, fields=Fields(needs_ids=False))
    info = client.describe_collection(collection)
    own = space or source.space or info.space
    count = source.total
    if count is None:
        count = sum(1 for _ in read_on(source, 0))
    limits = client.info().limits
    portion = replace(Portion.of(limits), rows=min(BATCH, limits.max_inputs))
    found = [
        part
        for batch in batches(_drawn(source, count, most), 0, portion)
        for part in _by_kind(_inputs(batch), client, info.model, own)
    ]
    spaces = sorted({one for _, one in found})
    if len(spaces) > 1:
        raise SetupError(f"expected queries of one space in {path}, got {', '.join(spaces)}")
    return Queries([one for some, _ in found for one in some], "".join(spaces), count)


def _by_kind(
    inputs: list[Input], client: Client, model: str, own: str
) -> Iterator[tuple[list[Tensor], str]]:
    """Vectors with their space: those that were given, then those of each other kind of input."""
    if given := [each for each in inputs if isinstance(each, Tensor)]:
        yield given, own
    for kind in {type(each) for each in inputs} - {Tensor}:
        answer = client.embed(model, [each for each in inputs if type(each) is kind])
        rows = (vector.values for vector in answer.vectors)
        yield [Tensor(row) for row in rows if row is not None], answer.space


def _drawn(source: Source, count: int, most: int) -> Iterator[Record]:
    """Records, called by their rows, the first of which is 1; a draw without replacement."""
    records = enumerate(read_on(source, 0), 1)
    for row, record in compress(records, _chosen(count, most)) if count > most else records:
        yield replace(record, id=str(row))


def _chosen(count: int, most: int) -> NDArray[np.bool_]:
    chosen = np.zeros(count, bool)
    chosen[np.random.default_rng(SEED).choice(count, most, replace=False)] = True
    return chosen


def _inputs(batch: Batch) -> list[Input]:
    """What a batch holds.

    Raises:
        SetupError: one of its records is none.
    """
    for _, bad in batch.bad:
        raise SetupError(f"row {bad.id} of the queries: {bad.message}")
    return [item.input for item in batch.items]

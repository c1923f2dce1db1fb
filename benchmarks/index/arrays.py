"""The embeddings that all contestants are fed, made once per scale, with exact answers in float64.

    python benchmarks/index/arrays.py --scale 0.05 photographs

A set is a folder: rows, queries, scores of the true neighbours, and an integer per row to filter
by. Rows and queries have unit norm. What made a set is seeded: a folder can be thrown away.
"""

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]

FOLDER = Path("build/bench/index")
K = 10
QUERIES = 500
SHARES = 1000  # a row's share is a random whole number below
CHUNK_ROWS = 20_000
# Rows of unit norm in float32 are of unit norm to a few of these: who is nearer by less is a tie.
TIE = 2e-7


@dataclass(frozen=True)
class Kind:
    """What a set holds at full scale; `lengths` are the trained prefixes."""

    rows: int
    lengths: tuple[int, ...]
    says: str


KINDS = {
    "hard": Kind(200_000, (64, 128, 256, 512, 1024), "the synthetic hard set"),
    "million": Kind(1_000_000, (64, 128, 192, 256, 384, 768), "the synthetic hard set"),
    "digits": Kind(
        500_000, (8, 16, 32, 64), "augmented scans of digits by the shipped Matryoshka encoder"
    ),
    "photographs": Kind(
        200_000,
        (64, 128, 256, 512),
        "patches of photographs by an encoder trained on other parts of them",
    ),
    "few_photographs": Kind(50_000, (64, 128, 256, 512), "the first of the patches"),
}
PARTS = {"few_photographs": "photographs"}


@dataclass(frozen=True)
class Data:
    """A set on disk."""

    name: str
    folder: Path

    @property
    def lengths(self) -> tuple[int, ...]:
        return KINDS[self.name].lengths

    @cached_property
    def rows(self) -> Vectors:
        return np.load(self.folder / "rows.npy", mmap_mode="r")

    @cached_property
    def queries(self) -> Vectors:
        return np.load(self.folder / "queries.npy")

    @cached_property
    def shares(self) -> npt.NDArray[np.int64]:
        return np.load(self.folder / "shares.npy")

    @cached_property
    def least(self) -> Scores:
        """(queries,) score of the last true neighbour."""
        return np.load(self.folder / "least.npy")

    @cached_property
    def told(self) -> dict[str, object]:
        """What is printed beside every figure."""
        return json.loads((self.folder / "told.json").read_text())

    def recall(
        self, found: Sequence[Sequence[int]], least: Scores | None = None, there: int = K
    ) -> float:
        """Share of the true neighbours that were found; of equally near ones any will do.

        `there` of them are to be found, where that is fewer than K.
        """
        least = self.least if least is None else least
        shares = [
            np.count_nonzero(self.scores(position, ids) >= bound - TIE) / there
            for position, (ids, bound) in enumerate(zip(found, least, strict=True))
        ]
        return float(np.mean(np.minimum(shares, 1.0)))

    def scores(self, position: int, ids: Sequence[int]) -> Scores:
        """Cosines of one query and some rows, none counted twice."""
        there = np.unique(np.asarray(ids, np.int64))
        return unit(self.rows[there[there >= 0]]) @ unit(self.queries[position : position + 1])[0]


def unit(vectors: Vectors) -> Scores:
    doubles = np.asarray(vectors, np.float64)
    return doubles / np.linalg.norm(doubles, axis=1, keepdims=True)


def chunks(rows: Vectors) -> Iterator[tuple[int, Vectors]]:
    for start in range(0, len(rows), CHUNK_ROWS):
        yield start, rows[start : start + CHUNK_ROWS]


def best_scores(
    rows: Vectors, queries: Vectors, allowed: npt.NDArray[np.bool_] | None = None, k: int = K
) -> Scores:
    """(queries, k) cosines of the true neighbours in float64, ascending.

    `allowed` tells which rows may be found; -inf where they are fewer than k.
    """
    doubles = unit(queries)
    best = np.full((len(queries), k), -np.inf)
    for start, chunk in chunks(rows):
        chosen = chunk if allowed is None else chunk[allowed[start : start + len(chunk)]]
        if len(chosen):
            scores = np.concatenate([best, doubles @ unit(chosen).T], axis=1)
            best = np.partition(scores, -k, axis=1)[:, -k:]
    return np.sort(best, axis=1)


def prefix_recalls(data: Data, count: int = 100) -> dict[str, float]:
    """Share of the true neighbours that each renormalised prefix finds by itself."""
    queries = data.queries[:count]
    recalls = {}
    for length in data.lengths[:-1]:
        best = np.full((count, K), -np.inf)
        ids = np.full((count, K), -1)
        short_queries = unit(queries[:, :length]).astype(np.float32)
        for start, chunk in chunks(data.rows):
            short = unit(chunk[:, :length]).astype(np.float32)
            scores = np.concatenate([best, short_queries @ short.T], axis=1)
            numbers = np.broadcast_to(np.arange(start, start + len(chunk)), (count, len(chunk)))
            chosen = np.argpartition(scores, -K, axis=1)[:, -K:]
            best = np.take_along_axis(scores, chosen, axis=1)
            ids = np.take_along_axis(np.concatenate([ids, numbers], axis=1), chosen, axis=1)
        recalls[str(length)] = round(data.recall(ids, data.least[:count]), 3)
    return recalls


def vectors_of(name: str, rows: int, folder: Path) -> tuple[Vectors, Vectors]:
    """Rows and queries of a kind."""
    if name == "digits":
        from digits import digits_set

        return digits_set(rows, QUERIES)
    if name == "photographs":
        from photographs import photographs_set

        return photographs_set(rows, QUERIES, folder / "data" / "photographs.pt")
    from hard_set import hard_set

    return hard_set(rows, KINDS[name].lengths[-1], QUERIES)


def data_of(name: str, scale: float, folder: Path = FOLDER) -> Data:
    """A set; made where it is not there."""
    data = Data(name, folder / "data" / f"{name}-{scale:g}")
    if not (data.folder / "told.json").exists():
        shutil.rmtree(data.folder, ignore_errors=True)
        data.folder.mkdir(parents=True)
        _make(data, round(KINDS[name].rows * scale), scale, folder)
    return data


def _make(data: Data, count: int, scale: float, folder: Path) -> None:
    if data.name in PARTS:
        whole = data_of(PARTS[data.name], scale, folder)
        rows, queries = whole.rows[:count], whole.queries
    else:
        rows, queries = vectors_of(data.name, count, folder)
    np.save(data.folder / "rows.npy", rows)
    np.save(data.folder / "queries.npy", queries)
    np.save(data.folder / "shares.npy", np.random.default_rng(7).integers(SHARES, size=count))
    np.save(data.folder / "least.npy", best_scores(rows, queries)[:, 0])
    told = {
        "data": data.name,
        "rows": count,
        "dim": data.lengths[-1],
        "prefix_self_recall": prefix_recalls(data),
    }
    (data.folder / "told.json").write_text(json.dumps(told))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(KINDS))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    for name in arguments.names:
        print(json.dumps(data_of(name, arguments.scale, arguments.folder).told), flush=True)


if __name__ == "__main__":
    main()

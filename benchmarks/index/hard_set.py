"""Synthetic embeddings on which prefixes are bad at finding neighbours: the hard set.

A mixture of Gaussians whose spectrum decays slowly, of unit norm. Its parameters were fitted so
that, at 200,000 rows of 1,024 numbers, the ten nearest by a prefix of 64, 128 and 256 numbers hold
.38, .71 and .89 of the ten nearest by all of them: most of a row's identity lies past the prefix.

    python benchmarks/index/hard_set.py [--rows 200000] [--dim 1024] [--queries 200]
"""

import argparse

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

KEY = 20_26
ROWS, DIM = 200_000, 1024
PREFIXES = (64, 128, 256)
ROWS_PER_CLUSTER = 50
SPREAD = 1.6  # of a cluster's rows about its centre, in units of the centres' own spread
DECAY, DECAY_OFFSET = 1.45, 80.0  # number j has a standard deviation of (j + offset)^-decay
CHUNK_ROWS = 8192


def hard_set(rows: int = ROWS, dim: int = DIM, queries: int = 1000) -> tuple[Vectors, Vectors]:
    """(rows, dim) vectors and (queries, dim) queries of the same distribution, unit norm.

    The same arguments give the same vectors; numbers of a row are drawn for each chunk by a key of
    its own, so that a longer set begins as a shorter one of as many clusters does.
    """
    clusters = max(1, rows // ROWS_PER_CLUSTER)
    centres = np.random.default_rng([KEY, 0]).standard_normal((clusters, dim), np.float32)
    spectrum = ((np.arange(dim) + 1 + DECAY_OFFSET) ** -DECAY).astype(np.float32)
    made = np.empty((rows + queries, dim), np.float32)
    for start in range(0, len(made), CHUNK_ROWS):
        rng = np.random.default_rng([KEY, 1, start])
        chunk = made[start : start + CHUNK_ROWS]
        rng.standard_normal(chunk.shape, np.float32, out=chunk)
        chunk *= SPREAD
        chunk += centres[rng.integers(clusters, size=len(chunk))]
        chunk *= spectrum
        chunk /= np.linalg.norm(chunk, axis=1, keepdims=True)
    return made[:rows], made[rows:]


def exact(rows: Vectors, queries: Vectors, k: int = 10) -> npt.NDArray[np.intp]:
    """(queries, k) positions of the nearest rows by inner product, in no order."""
    best = []
    for start in range(0, len(queries), 50):
        scores = queries[start : start + 50] @ rows.T
        best.append(np.argpartition(scores, -k, axis=1)[:, -k:])
    return np.concatenate(best)


def recall(found: npt.NDArray[np.intp], wanted: npt.NDArray[np.intp]) -> float:
    """Share of the wanted rows that were found."""
    hits = [len(np.intersect1d(one, other)) for one, other in zip(found, wanted, strict=True)]
    return sum(hits) / wanted.size


def prefix_recalls(rows: Vectors, queries: Vectors, k: int = 10) -> dict[int, float]:
    """Share of the k nearest that each renormalised prefix finds by itself."""
    wanted = exact(rows, queries, k)
    return {
        length: recall(exact(prefix(rows, length), prefix(queries, length), k), wanted)
        for length in PREFIXES
        if length < rows.shape[1]
    }


def prefix(vectors: Vectors, length: int) -> Vectors:
    """First numbers of each row, scaled to unit norm; a copy."""
    short = vectors[:, :length].copy()
    short /= np.linalg.norm(short, axis=1, keepdims=True)
    return short


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--dim", type=int, default=DIM)
    parser.add_argument("--queries", type=int, default=200)
    arguments = parser.parse_args()
    rows, queries = hard_set(arguments.rows, arguments.dim, arguments.queries)
    for length, share in prefix_recalls(rows, queries).items():
        print(f"prefix {length}: {share:.3f} of the ten nearest")


if __name__ == "__main__":
    main()

"""What a graph's nodes should hold: recall and time of FAISS's own, by 8 and by 16 bits a number.

    python benchmarks/index/nodes.py [--data photographs] [--length 128] [--scale 1]

One thread walks; all that a walk kept is ranked by the full vectors, which is not timed.
"""

import argparse
import json
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from arrays import FOLDER, Data, data_of, unit
from rows_graphs import GRAPH

from kokeshi.index.forms.hnsw import SAMPLE_ROWS
from kokeshi.index.kernels.engine import load_faiss

BREADTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 320)
QUERIES = 300


def built(kind: int, rows: npt.NDArray[np.float32]) -> Any:
    faiss = load_faiss()
    graph = faiss.IndexHNSWSQ(rows.shape[1], kind, GRAPH["links"], faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = GRAPH["construction"]
    graph.train(rows[:SAMPLE_ROWS])
    graph.add(rows)
    return graph


def walked(graph: Any, data: Data, length: int, breadth: int) -> dict[str, float]:
    """Recall@10 and p50 of walks that keep so many candidates."""
    faiss = load_faiss()
    params = faiss.SearchParametersHNSW(efSearch=breadth)
    found, seconds = [], []
    for query in unit(data.queries[:QUERIES, :length]).astype(np.float32):
        start = time.perf_counter()
        found.append(graph.search(query[None], breadth, params=params)[1][0])
        seconds.append(time.perf_counter() - start)
    best = []
    for query, ids in zip(unit(data.queries[:QUERIES]), found, strict=True):
        kept = ids[ids >= 0]
        scores = unit(data.rows[kept]) @ query
        best.append(kept[np.argsort(-scores)[:10]].tolist())
    return {
        "recall": round(data.recall(best, data.least[:QUERIES]), 4),
        "p50_us": round(1e6 * float(np.median(seconds))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="photographs")
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    faiss, data = load_faiss(), data_of(arguments.data, arguments.scale, FOLDER)
    rows = unit(data.rows[:, : arguments.length]).astype(np.float32)
    kinds = faiss.ScalarQuantizer
    for bits, kind in ((8, kinds.QT_8bit_uniform), (16, kinds.QT_fp16)):
        faiss.omp_set_num_threads(2)
        start = time.perf_counter()
        graph = built(kind, rows)
        print(json.dumps({"bits": bits, "build_s": round(time.perf_counter() - start, 1)}))
        faiss.omp_set_num_threads(1)
        for breadth in BREADTHS:
            told = walked(graph, data, arguments.length, breadth)
            print(json.dumps({"bits": bits, "breadth": breadth, **told}), flush=True)


if __name__ == "__main__":
    main()

"""Fast float32 scans hand on every row that float64 could put among the nearest."""

import numpy as np
import pytest

from kokeshi.index import SearchParams, Tuning
from kokeshi.index.faiss_index import build
from kokeshi.index.geometry import Geometry
from kokeshi.index.scan import scan
from kokeshi.index.search import plan, rank
from kokeshi.index.snapshot import Snapshot, all_live

ROWS = 5000


def near_ties(metric, queries):
    """Rows so near to each other that the order of their float32 sums is noise."""
    rng = np.random.default_rng(0)
    geometry = Geometry(metric, (64, 256))
    vectors = (1 + 3e-7 * rng.standard_normal((ROWS, 256))).astype(np.float32)
    wanted = (1 + 0.3 * rng.standard_normal((queries, 256))).astype(np.float32)
    return geometry, geometry.block(np.arange(ROWS), vectors), wanted


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("dimension", [64, 256])
@pytest.mark.parametrize("queries", [1, 9])
def test_rows_that_rounding_could_swap_are_all_candidates(metric, dimension, queries):
    geometry, block, wanted = near_ties(metric, queries)
    prefixes = [geometry.query(query, dimension) for query in wanted]
    dead = np.arange(0, ROWS, 5)
    found = list(scan(geometry, block, dead, prefixes, 10))
    assert len(found) == queries
    for prefix, positions in zip(prefixes, found, strict=True):
        scores = geometry.compare(block.matrix, prefix)
        scores[dead] = -np.inf
        assert set(np.argsort(-scores)[:10].tolist()) <= set(positions.tolist())
        assert not set(dead.tolist()) & set(positions.tolist())


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("queries", [1, 9], ids=["faiss", "numpy"])
@pytest.mark.parametrize("has_dead", [False, True])
def test_both_exact_engines_rank_as_float64_does(metric, queries, has_dead):
    geometry, block, wanted = near_ties(metric, queries)
    base = build(
        geometry, [block], seq=1, graph_dimension=None, tuning=Tuning(), is_stopped=lambda: False
    )
    snapshot = Snapshot(1, geometry.empty(), base, live_bits=all_live(ROWS))
    dead = np.arange(0, ROWS, 5) if has_dead else np.empty(0, np.int64)
    snapshot = snapshot.without(dead)
    params = SearchParams(10)
    chosen = plan(geometry, snapshot, params, Tuning())
    for query, ranking in zip(wanted, rank(geometry, snapshot, wanted, chosen), strict=True):
        scores = geometry.compare(block.matrix, geometry.query(query, 256))
        scores[dead] = -np.inf
        expected = np.lexsort((block.rows, -scores))[:10]
        assert ranking.rows.tolist() == expected.tolist()


def test_a_scan_hands_on_few_rows_of_a_large_block():
    rng = np.random.default_rng(0)
    geometry = Geometry("cosine", (32,))
    block = geometry.block(np.arange(50_000), rng.standard_normal((50_000, 32)).astype(np.float32))
    prefixes = [geometry.query(rng.standard_normal(32).astype(np.float32), 32)]
    [positions] = scan(geometry, block, np.empty(0, np.intp), prefixes, 10)
    assert 10 <= len(positions) < 20

"""Scans hand on every row that float64 puts among the nearest, whatever metric and parts."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kokeshi.index.geometry import Geometry
from kokeshi.index.kernels import (
    Part,
    Pool,
    encode,
    is_proven,
    nearest,
    nearest_codes,
    settle,
    shortlists,
)

METRICS = ["cosine", "ip", "l2", "hyperbolic"]


def space(metric, dimensions=(16, 48, 96)):
    lengths = dimensions[-1:] if metric == "hyperbolic" else dimensions
    return Geometry(metric, lengths, 0.7 if metric == "hyperbolic" else 1.0)


def points(geometry, rows, seed):
    """Vectors with many duplicates, and under the ball's edge where there is one."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((rows, geometry.dim)).astype(np.float32)
    vectors[rng.integers(rows, size=rows // 4)] = vectors[rng.integers(rows, size=rows // 4)]
    if geometry.metric == "hyperbolic":
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        reach = rng.uniform(0.05, 0.9999, size=(rows, 1)) / np.sqrt(geometry.curvature)
        vectors = (vectors / norms * reach).astype(np.float32)
    return vectors


def cut(geometry, vectors, sizes, masks=None, width=None):
    """Parts of the given sizes."""
    parts, start = [], 0
    for number, size in enumerate(sizes):
        chosen = slice(start, start + size)
        block = geometry.block(np.arange(start, start + size), vectors[chosen])
        codes = None if width is None else encode(geometry, block, width)
        parts.append(Part(block, codes, None if masks is None else masks[chosen]))
        start += size
        assert number < len(sizes)
    return parts


def oracle(geometry, parts, query, k):
    """Positions and scores by float64, best first, ties by position."""
    scores = np.concatenate([geometry.compare(part.block.matrix, query) for part in parts])
    allowed = np.concatenate(
        [np.ones(len(part.block), bool) if part.allowed is None else part.allowed for part in parts]
    )
    scores[~allowed] = -np.inf
    order = np.lexsort((np.arange(len(scores)), -scores))[: min(k, int(allowed.sum()))]
    return order, scores[order]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seed", range(6))
def test_scan_and_settle_rank_as_float64_does(metric, seed):
    rng = np.random.default_rng(seed)
    geometry = space(metric)
    sizes = [int(size) for size in rng.integers(0, 1500, size=rng.integers(1, 5))] + [700]
    vectors = points(geometry, sum(sizes), seed)
    masks = None if seed % 2 else rng.random(sum(sizes)) < rng.choice([0.01, 0.5, 0.99])
    parts = cut(geometry, vectors, sizes, masks)
    k = int(rng.integers(1, 40))
    wanted = points(geometry, int(rng.choice([1, 2, 5, 17, 70])), seed + 100)
    for length in geometry.dimensions:
        queries = [geometry.query(query, length) for query in wanted]
        for query, found in zip(queries, nearest(geometry, parts, queries, k), strict=True):
            expected, scores = oracle(geometry, parts, query, k)
            assert np.all(np.diff(found) > 0)
            assert set(expected.tolist()) <= set(found.tolist())
            positions, settled = settle(geometry, parts, found, query, k)
            assert positions.tolist() == expected.tolist()
            assert settled.tolist() == scores.tolist()


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("dimension", [64, 256])
@pytest.mark.parametrize("queries", [1, 9])
def test_rows_whose_order_is_rounding_are_all_handed_on(metric, dimension, queries):
    rng = np.random.default_rng(0)
    geometry = Geometry(metric, (64, 256))
    vectors = (1 + 3e-7 * rng.standard_normal((5000, 256))).astype(np.float32)
    parts = cut(geometry, vectors, [3000, 2000], np.arange(5000) % 5 > 0)
    wanted = (1 + 0.3 * rng.standard_normal((queries, 256))).astype(np.float32)
    prefixes = [geometry.query(query, dimension) for query in wanted]
    for prefix, found in zip(prefixes, nearest(geometry, parts, prefixes, 10), strict=True):
        assert set(oracle(geometry, parts, prefix, 10)[0].tolist()) <= set(found.tolist())
        assert not set(range(0, 5000, 5)) & set(found.tolist())


def test_points_near_the_edge_of_the_ball_keep_their_order():
    rng = np.random.default_rng(3)
    geometry = space("hyperbolic", (8,))
    directions = rng.standard_normal((2000, 8))
    directions[:, 1:] *= 1e-3
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    reach = 1 - 10 ** rng.uniform(-4.9, -3, size=(2000, 1))
    vectors = (directions * reach / np.sqrt(geometry.curvature)).astype(np.float32)
    parts = cut(geometry, vectors, [1000, 1000])
    for wanted in vectors[:20]:
        query = geometry.query(wanted, 8)
        [found] = nearest(geometry, parts, [query], 10)
        assert set(oracle(geometry, parts, query, 10)[0].tolist()) <= set(found.tolist())


def test_a_scan_hands_on_few_rows_of_a_large_collection():
    rng = np.random.default_rng(0)
    geometry = Geometry("cosine", (32,))
    parts = cut(geometry, rng.standard_normal((60_000, 32)).astype(np.float32), [40_000, 20_000])
    query = geometry.query(rng.standard_normal(32).astype(np.float32), 32)
    [found] = nearest(geometry, parts, [query], 10)
    assert 10 <= len(found) < 20


def test_no_rows_and_no_allowed_rows_find_nothing():
    geometry = space("cosine")
    query = geometry.query(np.ones(96, np.float32), 16)
    vectors = points(geometry, 10, 0)
    assert [len(found) for found in nearest(geometry, [], [query, query], 3)] == [0, 0]
    assert nearest(geometry, [Part(geometry.empty())], [], 3) == []
    parts = cut(geometry, vectors, [10], np.zeros(10, bool), width=16)
    assert len(nearest(geometry, parts, [query], 3)[0]) == 0
    assert len(nearest_codes(geometry, parts, [query], 3)[0]) == 0
    positions, scores = settle(geometry, parts, np.empty(0, np.intp), query, 3)
    assert len(positions) == len(scores) == 0


def test_the_error_of_codes_is_at_most_half_a_step():
    geometry = space("ip")
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((500, 96)).astype(np.float32)
    vectors *= 10 ** rng.uniform(-15, 15, size=(500, 1)).astype(np.float32)
    vectors[7] = 0
    codes = encode(geometry, geometry.block(np.arange(500), vectors), 48)
    decoded = codes.steps * codes.scales[:, None].astype(np.float64)
    assert np.all(np.abs(decoded - vectors[:, :48]) <= 0.5001 * codes.scales[:, None])
    assert codes.values.dtype == np.int8
    assert codes.steps.min() >= -127
    assert not codes.steps[7].any()


def test_codes_of_a_row_do_not_depend_on_other_rows():
    geometry = space("cosine")
    block = geometry.block(np.arange(300), points(geometry, 300, 0))
    whole = encode(geometry, block, 48)
    alone = [encode(geometry, block.part(slice(i, i + 1)), 48) for i in range(300)]
    assert np.array_equal(whole.values, np.concatenate([one.values for one in alone]))
    assert np.array_equal(whole.scales, np.concatenate([one.scales for one in alone]))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("queries", [1, 6])
def test_codes_of_the_full_length_find_the_nearest_of_a_narrow_shortlist(metric, queries):
    geometry = space(metric)
    vectors = points(geometry, 4000, 1)
    masks = np.arange(4000) % 3 > 0
    parts = cut(geometry, vectors, [1500, 2500], masks, width=96)
    parts[1] = parts[1]._replace(codes=None)  # rows without codes are compared beside the others
    prefixes = [geometry.query(query, 96) for query in points(geometry, queries, 5)]
    found = nearest_codes(geometry, parts, prefixes, 60, is_partial=False)
    for prefix, positions in zip(prefixes, found, strict=True):
        assert len(positions) == 60
        assert masks[positions].all()
        expected, _ = oracle(geometry, parts, prefix, 10)
        assert len(set(expected.tolist()) & set(positions.tolist())) >= 9


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_codes_rank_a_prefix_by_its_own_metric_where_it_is_the_last_word(metric):
    geometry = space(metric)
    parts = cut(geometry, points(geometry, 3000, 2), [3000], width=48)
    prefix = geometry.query(points(geometry, 1, 9)[0], 16)
    [positions] = nearest_codes(geometry, parts, [prefix], 60, is_partial=False)
    expected, _ = oracle(geometry, parts, prefix, 10)
    assert set(expected.tolist()) <= set(positions.tolist())


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
@pytest.mark.parametrize("first", [16, 48, 96])
def test_what_is_proven_is_true(metric, first):
    geometry = space(metric)
    spectrum = (np.arange(1, 97) ** -2.0).astype(np.float32)
    parts = cut(geometry, points(geometry, 3000, 4) * spectrum, [1000, 2000], width=first)
    proven = 0
    for wanted in points(geometry, 30, 8) * spectrum:
        query = geometry.query(wanted, 96)
        expected, scores = oracle(geometry, parts, query, 5)
        for width in (5, 40, 400, 3001):
            [short] = shortlists(geometry, parts, [geometry.query(wanted, first)], width)
            positions, settled = settle(geometry, parts, short.positions, query, 5)
            if is_proven(geometry, parts, short, query, first, settled[-1]):
                proven += 1
                assert positions.tolist() == expected.tolist()
                assert settled.tolist() == scores.tolist()
    # the widest shortlist leaves nothing out; at the full length narrower ones are proven too
    assert proven >= (33 if first == 96 else 30)


def test_a_pool_answers_in_order_and_hands_on_errors():
    pool = Pool(3)
    try:
        assert pool.map(lambda task: task * 2, range(100)) == list(range(0, 200, 2))
        with pytest.raises(ZeroDivisionError):
            pool.map(lambda task: 1 // task, [1, 2, 0, 4, 5])
        assert pool.map(lambda task: task, [1, 2, 3], alone=True) == [1, 2, 3]
    finally:
        pool.close()
    assert pool.map(str, [1, 2]) == ["1", "2"]
    pool.close()


def test_a_pool_works_in_a_forked_process_that_has_none_of_its_threads():
    pool = Pool(2)
    pool.map(str, range(10))
    helpers = list(pool._idle)
    pool.forget()  # what a fork makes of it
    assert pool.map(str, range(10)) == [str(i) for i in range(10)]
    for helper in helpers:
        helper.give(None)
    pool.close()


def test_callers_of_a_pool_do_not_wait_for_what_its_threads_do_for_others():
    pool = Pool(2)
    begun, may_end = threading.Barrier(5), threading.Event()

    def slow(task):
        begun.wait(20)
        assert may_end.wait(20)
        return task

    with ThreadPoolExecutor(2) as callers:
        held = [callers.submit(pool.map, slow, [1, 2]) for _ in range(2)]
        begun.wait(20)  # two callers and two threads
        assert pool.map(str, range(10)) == [str(i) for i in range(10)]
        may_end.set()
        assert [each.result(20) for each in held] == [[1, 2], [1, 2]]
    pool.close()


def test_a_pool_answers_many_callers_at_once_whatever_they_ask():
    pool, rng = Pool(3), random.Random(5)
    shapes = [(rng.randrange(2, 9), rng.random() < 0.1) for _ in range(2000)]

    def ask(shape):
        count, is_failing = shape
        wanted = [sum(range(task * 50)) for task in range(count)]
        if not is_failing:
            return pool.map(lambda task: sum(range(task * 50)), range(count)) == wanted
        with pytest.raises(ZeroDivisionError):
            pool.map(lambda task: 1 // task, range(count))
        return True

    with ThreadPoolExecutor(8) as callers:
        assert all(callers.map(ask, shapes))
    assert len(pool._idle) == pool._count <= 3
    pool.close()
    assert not pool._idle


def code_scores(parts, query):
    """Scores of codes and a query in 8 bits, by whole numbers; -inf where not allowed."""
    size = np.float32(np.abs(query).max()) / np.float32(127)
    steps = np.rint(query.astype(np.float32) * (1.0 / np.float64(size)))
    scores = []
    for part in parts:
        products = part.codes.steps[:, : len(steps)].astype(np.int64) @ steps.astype(np.int64)
        line = products * part.codes.scales.astype(np.float64) * size
        scores.append(np.where(True if part.allowed is None else part.allowed, line, -np.inf))
    return np.concatenate(scores)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("arrangement", ["mixed", "sorted"])
def test_a_shortlist_holds_the_best_codes_wherever_they_lie(arrangement, masked):
    rng = np.random.default_rng(0)
    geometry = Geometry("ip", (16, 40))
    vectors = rng.standard_normal((70_000, 40)).astype(np.float32)
    vectors *= 10 ** rng.uniform(-2, 2, size=(70_000, 1)).astype(np.float32)
    wanted = rng.standard_normal((3, 40)).astype(np.float32)
    if arrangement == "sorted":  # all the best lie in one run
        vectors = vectors[np.argsort(vectors @ wanted[0])]
    allowed = rng.random(70_000) < 0.3 if masked else None
    parts = cut(geometry, vectors, [40_000, 30_000], allowed, width=40)
    for length in (16, 40):
        queries = [geometry.query(query, length) for query in wanted]
        for query, short in zip(
            queries, shortlists(geometry, parts, queries, 300, True), strict=True
        ):
            scores = code_scores(parts, query)
            kth = np.sort(scores)[-300]
            assert len(short.positions) == 300
            assert np.all(np.diff(short.positions) > 0)
            assert short.cut == pytest.approx(kth, rel=1e-5)
            assert scores[short.positions].min() >= kth - 1e-5 * abs(kth)


def test_codes_outlive_the_arrays_that_they_were_cut_from():
    geometry = space("cosine")
    block = geometry.block(np.arange(2000), points(geometry, 2000, 0))
    codes = encode(geometry, block, 48)
    runs = codes.runs
    expected = runs[0].search(np.ones((1, 48), np.float32), 5, None)
    del codes
    np.empty(2000 * 48, np.int8).fill(1)  # where freed memory would be given away again
    again = runs[0].search(np.ones((1, 48), np.float32), 5, None)
    assert np.array_equal(expected[0], again[0])

"""Depths are chosen by what was measured of them."""

import pytest

from kokeshi.errors import InvalidRequestError
from kokeshi.index import Capabilities, CollectionInfo, CollectionSpec, SearchParams
from kokeshi.index.checks import check_params
from kokeshi.index.filters import Equals
from kokeshi.index.found import RecallEstimate
from kokeshi.index.recall.choosing import by_budget, by_recall, check_wish
from kokeshi.index.recall.dials import (
    DEFAULT,
    EXACT,
    Dial,
    Setting,
    Want,
    ladder,
    rounded,
    want_of,
)
from kokeshi.index.recall.ledger import EXACTLY, Fading, Ledger, Point

SMALL, MIDDLE, LARGE = (Setting(64, rows) for rows in (50, 200, 1000))
LADDER = (DEFAULT, SMALL, MIDDLE, LARGE, EXACT)
WANT = Want(10, None, is_narrowed=False)
SPEC = CollectionSpec("a", "0" * 16, 256, dimensions=(16, 32, 64, 128, 256))


def point(setting, value, half, typical_ms):
    low, high = max(0.0, value - half), min(1.0, value + half)
    recall = EXACTLY if setting == EXACT else RecallEstimate(value, low, high, 100)
    dial = Dial("codes", 256, setting.first or 256, setting.shortlist, 0, 10, is_narrowed=False)
    return Point(setting, dial, recall, typical_ms / 1000, 2 * typical_ms / 1000)


KNOWN = [
    point(SMALL, 0.90, 0.02, 1),
    point(MIDDLE, 0.97, 0.01, 2),
    point(LARGE, 0.995, 0.004, 4),
    point(EXACT, 1, 0, 20),
]


@pytest.mark.parametrize(
    ("target", "setting", "basis"),
    [
        (0.85, SMALL, "measured"),
        (0.95, MIDDLE, "measured"),
        (0.97, LARGE, "measured"),
        (0.995, EXACT, "measured"),
        (1.0, EXACT, "measured"),
    ],
)
def test_the_cheapest_whose_recall_is_surely_enough_is_taken(target, setting, basis):
    pick = by_recall(KNOWN, LADDER, target)
    assert (pick.setting, pick.basis) == (setting, basis)


def test_where_samples_are_too_few_it_goes_one_deeper():
    unsure = [point(SMALL, 0.9, 0.2, 1), point(MIDDLE, 0.97, 0.2, 2), point(LARGE, 0.98, 0.2, 4)]
    pick = by_recall(unsure, LADDER, 0.95)
    assert (pick.setting, pick.basis) == (LARGE, "likely")
    assert pick.recall.low < 0.95  # it says so
    assert by_recall(unsure, LADDER, 0.98).setting == LARGE  # none is deeper
    assert by_recall(unsure, LADDER, 0.72).basis == "likely"  # wide intervals promise nothing


def test_where_nothing_is_known_every_row_is_compared():
    assert by_recall([], LADDER, 0.9).setting == EXACT
    assert by_recall([], LADDER, 0.9).recall == EXACTLY
    assert by_recall(KNOWN[:2], LADDER, 0.99).basis == "exact"


def test_a_store_that_cannot_compare_every_row_goes_as_deep_as_it_can():
    pick = by_recall([point(SMALL, 0.5, 0.1, 1)], LADDER[:-1], 0.99)
    assert (pick.setting, pick.basis, pick.recall) == (LARGE, "deepest", None)


@pytest.mark.parametrize(
    ("budget_ms", "setting", "basis"),
    [(100, EXACT, "measured"), (9, LARGE, "measured"), (4, MIDDLE, "measured"),
     (1, DEFAULT, "unknown")],
)  # fmt: skip
def test_a_budget_buys_the_best_recall_whose_tail_fits(budget_ms, setting, basis):
    pick = by_budget(KNOWN, budget_ms / 1000)
    assert (pick.setting, pick.basis) == (setting, basis)


def test_a_budget_that_nothing_keeps_is_left_to_the_store_until_its_own_way_was_timed():
    """Someone compared every row: what takes 20 s then is no reason to do so again."""
    pick = by_budget([point(EXACT, 1, 0, 20_000)], 0.05)
    assert (pick.setting, pick.recall, pick.tail_s, pick.basis) == (DEFAULT, None, None, "unknown")
    timed = [point(DEFAULT, 0.9, 0.1, 700), point(EXACT, 1, 0, 20_000)]
    pick = by_budget(timed, 0.05)
    assert (pick.setting, pick.basis) == (DEFAULT, "over_budget")
    assert by_budget(timed[1:], 60).setting == EXACT, "what fits is taken"
    quicker = [point(SMALL, 0.5, 0.1, 100), *timed]
    assert by_budget(quicker, 0.05).setting == SMALL


def test_a_budget_without_knowledge_is_left_to_the_store():
    assert by_budget([], 1).setting == DEFAULT
    assert by_budget([], 1).basis == "unknown"


@pytest.mark.parametrize(
    ("target", "budget_ms"),
    [(None, None), (0.9, 5), (0.0, None), (1.1, None), (float("nan"), None), (None, 0),
     (None, float("nan")), (None, float("inf"))],
)  # fmt: skip
def test_wishes_out_of_bounds_are_refused(target, budget_ms):
    with pytest.raises(InvalidRequestError, match=r"expected|must be"):
        check_wish(target, budget_ms)


def info(kind, count=100_000):
    return CollectionInfo(SPEC, count, 1, kind, 1, 0, 0, 0, None, None)


def capabilities(exact):
    nothing = frozenset()
    return Capabilities(nothing, nothing, nothing, True, True, True, exact, True)


@pytest.mark.parametrize("kind", ["flat", "codes", "hnsw", "ivf", "panorama", "something"])
def test_every_setting_that_is_tried_can_be_asked_for(kind):
    params = SearchParams(k=7, filter=Equals("a", 1), tenant="t")
    for setting in ladder(info(kind), capabilities(True), want_of(SPEC, params)):
        applied = setting.apply(params, want_of(SPEC, params))
        assert not (applied.exact and applied.rerank)
        assert applied.shortlist is None or (applied.rerank and applied.shortlist >= 7)
        assert applied.dimension in (None, *SPEC.trained)
        assert (applied.filter, applied.tenant, applied.k) == (params.filter, "t", 7)


def test_the_deepest_setting_is_exact_where_the_store_can():
    assert ladder(info("codes"), capabilities(True), WANT)[-1] == EXACT
    assert EXACT not in ladder(info("codes"), capabilities(False), WANT)


def test_no_shortlist_is_tried_that_a_search_may_not_ask_for():
    params = SearchParams(k=10_000)
    tried = ladder(info("codes", 10**9), capabilities(True), want_of(SPEC, params))
    shortlists = {setting.shortlist for setting in tried}
    assert max(shortlists) == 100 * 10_000
    for setting in tried:
        check_params(SPEC, setting.apply(params, want_of(SPEC, params)))


def test_a_search_of_a_prefix_is_never_ranked_by_more():
    want = want_of(SPEC, SearchParams(dimension=64))
    for setting in ladder(info("codes"), capabilities(True), want):
        applied = setting.apply(SearchParams(dimension=64), want)
        assert (applied.dimension, applied.rerank) == (64, False)


def test_k_is_rounded_up():
    assert [rounded(k) for k in (1, 2, 3, 5, 6, 10, 11, 21, 100, 501, 10_000)] == [
        1, 2, 5, 5, 10, 10, 20, 50, 100, 1000, 10_000,
    ]  # fmt: skip


def dial(shortlist):
    return Dial("codes", 256, 64, shortlist, 0, 10, is_narrowed=False)


def test_live_queries_outweigh_stored_rows_from_the_thirtieth_on():
    ledger = Ledger()
    for _ in range(100):
        ledger.count(dial(50), 10, 10, is_live=False)
    for _ in range(29):
        ledger.count(dial(50), 5, 10, is_live=True)
    assert ledger.estimate(dial(50)).value == 1.0
    for _ in range(10):
        ledger.count(dial(50), 5, 10, is_live=True)
    assert ledger.estimate(dial(50)).value == pytest.approx(0.5)


def test_samples_fade_with_time():
    now = [0.0]
    ledger = Ledger(Fading(samples=1e9, seconds=100.0), lambda: now[0])
    for _ in range(100):
        ledger.count(dial(50), 2, 10, is_live=True)
    now[0] = 1000.0
    for _ in range(100):
        ledger.count(dial(50), 9, 10, is_live=True)
    assert ledger.estimate(dial(50)).value == pytest.approx(0.9, abs=0.01)


def test_times_of_idle_searches_are_corrected_by_the_load():
    ledger = Ledger()
    for setting, rows in ((SMALL, 50), (MIDDLE, 200)):
        ledger.ran(WANT, setting, dial(rows), is_exact=False)
    for _ in range(20):
        ledger.took(dial(50), 0.001, is_live=False)
        ledger.took(dial(50), 0.003, is_live=True)
        ledger.took(dial(200), 0.002, is_live=False)
    times = {point.setting: point.typical_s for point in ledger.points(WANT)}
    assert times[SMALL] == pytest.approx(0.003)
    assert times[MIDDLE] == pytest.approx(0.006)


def test_dials_are_bounded():
    ledger = Ledger()
    for rows in range(2000):
        ledger.ran(WANT, Setting(64, rows), dial(rows), is_exact=False)
        ledger.count(dial(rows), 10, 10, is_live=True)
    assert ledger.estimate(dial(0)) is None
    assert len(ledger.points(WANT)) == 256

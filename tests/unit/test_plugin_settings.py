"""Settings of retrievers and diagnostics: bounded, checked before any work, and bounded work."""

import time
import tracemalloc
from contextlib import suppress
from dataclasses import replace

import numpy as np
import orjson
import pytest

from kokeshi.errors import DeadlineError, InvalidRequestError
from kokeshi.plugin import (
    Bounds,
    Diagnostic,
    Findings,
    Neighbours,
    Paper,
    Sample,
    go_on,
    settle,
    stoppable,
)
from kokeshi_plugins import diagnostics, retrievers
from kokeshi_plugins.diagnostics import drift, limits
from kokeshi_plugins.retrievers import funnel, hopfield, neighbour_vote
from kokeshi_plugins.retrievers.verification import pairs as pairs_of_items
from kokeshi_plugins.retrievers.verification import rates

PLUGINS = (*diagnostics.PLUGINS, *retrievers.PLUGINS)
HUGE = 10**18
JSON = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
# In each, one thing is wrong or as far out as JSON and Python allow.
VALUES = (-1, 0, 1, 2, HUGE, -HUGE, 1e308, 5e-324, float("nan"), float("inf"))
STEP_S = 20.0  # that one step may take here, on a machine that does much else
PAPER = Paper(title="none", authors="nobody", year=2000, url="https://example.org")
# What a small sample can carry.
BASE = {
    "verification": {"draws": 3, "false_match_rate": 0.01, "false_non_match_rate": 0.05},
    "nested_depth": {"query_depth": 1, "k": 3},
    "funnel": {"k": 3, "shortlist": 10, "recall": 0.1},
    "space_map": {"k": 3, "least_recall": 0.1},
    "drift": {"permutations": 199},
    "intrinsic_dimension": {"neighbours": 5},
}


@pytest.fixture(scope="module")
def sample():
    """Items of six classes, with all that any plugin reads."""
    random = np.random.default_rng(2)
    count, dim = 120, 8
    numbers = np.arange(count) % 6
    vectors = random.normal(size=(6, dim))[numbers] + random.normal(0, 0.3, (count, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    turn = np.linalg.qr(random.normal(size=(dim, dim)))[0]
    return Sample(
        vectors.astype(np.float32),
        ids=tuple(map(str, range(count))),
        labels=tuple(f"class{number}" for number in numbers),
        metadata=tuple({"label": f"class{n}", "place": {"lat": n, "lon": n}} for n in numbers),
        queries=vectors[::3].astype(np.float32),
        counterpart=(vectors @ turn).astype(np.float32),
        dimensions=(4, 8),
        space="0123456789abcdef",
    )


def neighbours(sample, count=30):
    scores = sample.vectors @ sample.vectors[0]
    rows = np.argsort(-scores)[:count]
    return Neighbours(
        ids=tuple(sample.ids[row] for row in rows),
        scores=scores[rows],
        metadata=tuple(sample.metadata[row] for row in rows),
        vectors=sample.vectors[rows],
        query=sample.vectors[0],
        dimension=8,
        count=len(sample.ids),
    )


def used(plugin, sample, settings):
    """All that a plugin does with some settings, as JSON."""
    if isinstance(plugin, Diagnostic):
        found = plugin.measure(sample, settings)
        told = [dict(found.figures), dict(found.intervals), dict(found.flagged)]
        return orjson.dumps(told, option=JSON)
    model = plugin.fit(sample, settings) if plugin.fit else None
    told = [model.model_dump(mode="json") if model else None]
    if plugin.answer and plugin.name != "verification":
        told.append(plugin.answer(neighbours(sample), settings, model))
    if plugin.plan and plugin.name != "bt2":
        told.append(plugin.plan(settings, model))
    return orjson.dumps(told, option=JSON)


def numbers_of(plugin):
    """Settings that are numbers, or lists of them."""
    return [
        name
        for name, value in plugin.defaults.items()
        if isinstance(value, int | float | tuple) and not isinstance(value, bool)
    ]


EVERY = pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.name)
EACH = pytest.mark.parametrize(
    ("plugin", "name"),
    [
        pytest.param(plugin, name, id=f"{plugin.name}-{name}")
        for plugin in PLUGINS
        for name in numbers_of(plugin)
    ],
)


@EVERY
def test_every_number_has_bounds_that_hold_its_default(plugin):
    assert set(plugin.bounds) == set(numbers_of(plugin))
    for name, bounds in plugin.bounds.items():
        value = plugin.defaults[name]
        assert all(map(bounds.holds, value if isinstance(value, tuple) else [value])), name
        assert np.isfinite([bounds.least, bounds.most]).all(), name
    assert settle(plugin, {}) == dict(plugin.defaults)


@EACH
def test_a_setting_is_refused_or_carried_whatever_it_is(plugin, name, sample):
    base, default = BASE.get(plugin.name, {}), plugin.defaults[name]
    for value in VALUES:
        if isinstance(value, float) and not isinstance(default, float):
            continue
        given = {**base, name: [value] if isinstance(default, tuple) else value}
        with suppress(InvalidRequestError):
            assert used(plugin, sample, settle(plugin, given))


@EACH
def test_what_is_out_of_bounds_is_refused_by_name_value_and_bounds(plugin, name):
    bounds, default = plugin.bounds[name], plugin.defaults[name]
    wrong = (-abs(bounds.least) * 2 - 1, bounds.most * 2 + 1, float("nan"))
    for value in wrong[: 3 if isinstance(default, float) else 2]:
        given = [value] if isinstance(default, tuple) else value
        with pytest.raises(InvalidRequestError) as caught:
            settle(plugin, {name: given})
        for part in (repr(name), repr(plugin.name), str(bounds), f"got {value!r}"):
            assert part in str(caught.value)


@EACH
def test_the_most_that_a_setting_may_be_stops_when_it_is_told_to(plugin, name, sample):
    bounds, default = plugin.bounds[name], plugin.defaults[name]
    if bounds.is_open or plugin.name == "bt2":
        return
    most = type(bounds.most)(bounds.most) if isinstance(default, float) else int(bounds.most)
    given = {**BASE.get(plugin.name, {}), name: (most,) if isinstance(default, tuple) else most}
    until_s = time.monotonic() + 0.5

    def check():
        if time.monotonic() > until_s:
            raise DeadlineError("long enough")

    with suppress(InvalidRequestError, DeadlineError), stoppable(check):
        used(plugin, sample, settle(plugin, given))
    assert time.monotonic() < until_s + STEP_S


@pytest.mark.parametrize(
    "plugin",
    [each for each in PLUGINS if isinstance(each, Diagnostic) or each.fit],
    ids=lambda plugin: plugin.name,
)
def test_every_fit_and_diagnosis_can_be_stopped_between_its_steps(plugin, sample):
    def check():
        raise DeadlineError("stop")

    work = plugin.measure if isinstance(plugin, Diagnostic) else plugin.fit
    settings = settle(plugin, BASE.get(plugin.name, {}))
    with pytest.raises(DeadlineError, match="stop"), stoppable(check):
        work(sample, settings)


def test_nothing_stops_work_outside_of_a_job():
    with stoppable(lambda: None):
        go_on()
    go_on()


def measured(sample, settings):
    return Findings({})


THEIRS = Diagnostic(
    name="theirs",
    paper=PAPER,
    licence="MIT",
    measure=measured,
    defaults={"share": 0.5, "lengths": (8, 16), "field": "label", "open": 0.5, "free": 1.0},
    bounds={"share": Bounds(0, 1), "lengths": Bounds(1, 64), "open": Bounds(0, 1, is_open=True)},
)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"share": 2}, "setting 'share' of 'theirs' is from 0 to 1, got 2"),
        ({"open": 1.0}, "setting 'open' of 'theirs' is above 0 and below 1, got 1.0"),
        ({"lengths": [8, 65]}, "setting 'lengths' of 'theirs' is from 1 to 64, got 65"),
        ({"lengths": [8, "x"]}, "setting 'lengths' of 'theirs' is of type int, got 'x'"),
        ({"lengths": [8] * 101}, "'lengths' of 'theirs' has a length of at most 100, got 101"),
        ({"field": "x" * 1001}, "'field' of 'theirs' has a length of at most 1000, got 1001"),
        ({"free": float("inf")}, "setting 'free' of 'theirs' is a finite number, got inf"),
        ({"share": 10**400}, f"is from 0 to 1, got {str(10**400)[:40]}..."),
    ],
)
def test_a_wrong_value_is_told_with_what_is_right(given, message):
    with pytest.raises(InvalidRequestError) as caught:
        settle(THEIRS, given)
    assert message in str(caught.value)


def test_settings_that_do_not_fit_each_other_are_refused_before_any_work():
    def check(settings):
        if settings["share"] > settings["open"]:
            raise InvalidRequestError("too large a share")

    with pytest.raises(InvalidRequestError, match="too large a share"):
        settle(replace(THEIRS, check=check), {"share": 0.9})
    with pytest.raises(InvalidRequestError, match="at least 1999 permutations, got 499"):
        settle(drift.PLUGIN, {"false_alarm_rate": 0.001})


def peak_bytes(work):
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_the_memory_of_a_drift_does_not_grow_with_its_permutations():
    random = np.random.default_rng(0)
    items, queries = random.normal(size=(2, 300, 4)).astype(np.float32)
    found = Sample(items, queries=queries)
    settings = settle(drift.PLUGIN, {"permutations": 40_000})
    whole = 40_000 * 600 * 8  # bytes of who is a query in every permutation
    assert peak_bytes(lambda: drift.PLUGIN.measure(found, settings)) < whole / 2


def test_the_memory_of_error_rates_does_not_grow_with_their_draws():
    random = np.random.default_rng(0)
    vectors, classes = random.normal(size=(200, 4)), np.arange(200) % 20
    scored = pairs_of_items.of_items(vectors, classes, 4, 20_000, 0)
    draws = 500

    def work():
        rates.point_at(scored, 0.5, rates.intervals(scored, draws, 0))

    assert peak_bytes(work) < len(scored.scores) * draws * 8 / 4


def test_the_memory_of_a_funnel_does_not_grow_with_its_shortlist():
    random = np.random.default_rng(0)
    items, queries = random.normal(size=(3_000, 256)), random.normal(size=(60, 256))
    stages = funnel.adaptive(8, 256, 2_000, 5)
    candidates = 60 * 2_000 * 256 * 8
    found = []
    peak = peak_bytes(lambda: found.append(funnel.walk(stages, items, queries)))
    assert peak < candidates / 1.5
    one_by_one = [funnel.walk(stages, items, query[None]) for query in queries]
    np.testing.assert_array_equal(found[0], np.concatenate(one_by_one))


@pytest.mark.parametrize("name", ["label_audit", "class_geometry"])
def test_more_labels_than_memory_holds_are_refused_before_any_work(name, monkeypatch):
    monkeypatch.setattr(limits, "MOST_BYTES", 8 * 400 * 99)
    labels = tuple(f"label{row % 100}" for row in range(400))
    vectors = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
    (plugin,) = (each for each in diagnostics.PLUGINS if each.name == name)
    settings = settle(plugin, {"least_class_items": 2})
    with pytest.raises(InvalidRequestError, match="got 400 times 100: read fewer items"):
        plugin.measure(Sample(vectors, labels=labels), settings)


def test_labels_that_vote_may_lie_inside_of_objects():
    metadata = ({"seen": {"label": "cat"}}, {"seen": {"label": "cat"}}, {"label": "dog"})
    near = Neighbours(
        ("a", "b", "c"), np.ones(3, np.float32), metadata, vectors=np.eye(3), query=np.eye(3)[0]
    )
    vote = settle(neighbour_vote.VOTE, {"field": "seen.label"})
    assert neighbour_vote.answer(near, vote)["shares"] == {"cat": pytest.approx(1)}
    soft = settle(hopfield.HOPFIELD, {"label_field": "seen.label"})
    assert set(hopfield.answer(near, soft, None)["labels"]) == {"cat"}

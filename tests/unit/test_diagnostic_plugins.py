"""What every diagnostic owes: bounded work, the same answer twice, and plain refusals."""

import re
import tracemalloc

import numpy as np
import pytest

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import Sample, settle
from kokeshi_plugins.diagnostics import PLUGINS, near_duplicates

BY_NAME = {plugin.name: plugin for plugin in PLUGINS}
EVERY = pytest.mark.parametrize("plugin", PLUGINS, ids=list(BY_NAME))


def make_sample(rows=400, dim=32, seed=0, **fields):
    random = np.random.default_rng(seed)
    labels = random.integers(5, size=rows)
    centres = 2 * random.standard_normal((5, dim))
    vectors = centres[labels] + random.standard_normal((rows, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[:10] = vectors[10:20]  # copies
    filled = {
        "vectors": vectors.astype(np.float32),
        "ids": tuple(f"id{row}" for row in range(rows)),
        "labels": tuple(f"label {label}" for label in labels),
        "queries": vectors[::4].astype(np.float32)[:, ::-1].copy(),
        "counterpart": np.tanh(vectors[:, :20] * 3).astype(np.float32),
        "dimensions": (8, 16, dim),
    }
    return Sample(**filled | fields)


def measured(plugin, sample, **given):
    return plugin.measure(sample, settle(plugin, given))


def smaller(plugin):
    """Limits that the sample is over."""
    return {"most_items": 300} if plugin.name != "drift" else {"most_items": 50}


@EVERY
def test_every_figure_is_finite_and_its_interval_holds_it(plugin):
    found = measured(plugin, make_sample())
    assert found.figures
    for name, value in found.figures.items():
        assert np.isfinite(value), name
        assert isinstance(value, float), name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    for name, (low, high) in found.intervals.items():
        assert low <= found.figures[name] <= high, name
    assert found.advice


@EVERY
def test_the_same_sample_gives_the_same_findings(plugin):
    one, other = (measured(plugin, make_sample(seed=1), **smaller(plugin)) for _ in range(2))
    assert one.figures == other.figures
    assert one.intervals == other.intervals
    assert one.flagged == other.flagged
    assert one.advice == other.advice


@EVERY
def test_a_sample_over_its_limit_is_drawn_by_the_seed_and_says_so(plugin):
    found = measured(plugin, make_sample(seed=2), **smaller(plugin))
    assert "drawn" in found.advice[0]
    assert "seed 0" in found.advice[0]
    assert found.figures["items_read"] <= 300


@EVERY
def test_a_sample_within_its_limit_is_read_whole(plugin):
    found = measured(plugin, make_sample(rows=250))
    assert not any("seed" in sentence for sentence in found.advice)
    assert found.figures["items_read"] == 250


@EVERY
def test_nothing_is_measured_of_vectors_that_are_not_finite(plugin):
    sample = make_sample()
    sample.vectors[7, 3] = np.nan
    with pytest.raises(InvalidRequestError, match="expected finite vectors, the items hold others"):
        measured(plugin, sample)


@EVERY
def test_too_few_items_are_refused(plugin):
    with pytest.raises(InvalidRequestError, match="expected at least"):
        measured(plugin, Sample(vectors=np.ones((1, 4), np.float32)))


@EVERY
def test_flagged_items_go_by_their_ids(plugin):
    sample = make_sample(seed=3)
    found = measured(plugin, sample)
    assert set(found.flagged) <= set(sample.ids)


@EVERY
def test_the_sample_is_left_as_it_was(plugin):
    sample, kept = make_sample(seed=4), make_sample(seed=4)
    measured(plugin, sample)
    np.testing.assert_array_equal(sample.vectors, kept.vectors)
    np.testing.assert_array_equal(sample.queries, kept.queries)


@EVERY
def test_every_setting_is_read(plugin):
    read = set()

    class Watched(dict):
        def __getitem__(self, name):
            read.add(name)
            return super().__getitem__(name)

    plugin.measure(make_sample(), Watched(plugin.defaults))
    assert read == set(plugin.defaults)


def test_names_are_unique_and_rows_are_the_catalogues():
    assert len(BY_NAME) == len(PLUGINS)
    rows = [row for plugin in PLUGINS for row in plugin.rows]
    assert sorted(rows) == [222, 308, 339, 360, 376, 441]


@pytest.mark.parametrize("name", ["label_audit", "class_geometry"])
def test_items_without_a_label_do_not_count(name):
    sample = make_sample(rows=400)
    labels = tuple(label if row % 2 else "" for row, label in enumerate(sample.labels))
    found = measured(BY_NAME[name], make_sample(rows=400, labels=labels))
    assert found.figures["items_read"] == 200
    assert not any("seed" in sentence for sentence in found.advice)  # the rest was not drawn out


@pytest.mark.parametrize("name", ["label_audit", "class_geometry"])
def test_without_labels_there_is_nothing_to_say(name):
    with pytest.raises(InvalidRequestError, match="labels"):
        measured(BY_NAME[name], make_sample(labels=()))


def test_queries_of_another_length_are_refused():
    with pytest.raises(InvalidRequestError, match="expected queries of 32 dimensions, got 8"):
        measured(BY_NAME["drift"], make_sample(queries=np.ones((50, 8), np.float32)))


def test_a_false_alarm_rate_beyond_the_permutations_is_refused():
    with pytest.raises(InvalidRequestError, match="at least 1999 permutations, got 499"):
        measured(BY_NAME["drift"], make_sample(), false_alarm_rate=0.001)


def test_counterparts_of_other_items_are_refused():
    with pytest.raises(InvalidRequestError, match="expected 400 counterparts, got 3"):
        measured(BY_NAME["spaces"], make_sample(counterpart=np.ones((3, 8), np.float32)))


def test_memory_does_not_grow_with_the_square_of_the_items():
    random = np.random.default_rng(0)
    vectors = random.standard_normal((12_000, 16), dtype=np.float32)
    tracemalloc.start()
    measured(near_duplicates.PLUGIN, Sample(vectors=vectors), cosine=0.999)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 80 * 2**20  # all cosines at once would be 549 MiB

"""Thresholds of the store from one line of text."""

import pytest

from kokeshi.index import Tuning
from kokeshi.index.tuning import tuned


def test_thresholds_are_the_defaults_but_for_those_given():
    assert tuned("") == Tuning()
    given = tuned("hnsw_rows=7, dead_share=0.5,gpu.rows=0,gpu.timeout_s=2")
    assert (given.hnsw_rows, given.dead_share) == (7, 0.5)
    assert (given.gpu.rows, given.gpu.timeout_s) == (0, 2.0)
    assert (given.codes_rows, given.gpu.memory_bytes) == (Tuning().codes_rows, 8 * 2**30)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hnsw_row=7", "no threshold 'hnsw_row', expected one of segment_rows, .*gpu.rows"),
        ("gpu=7", "no threshold 'gpu'"),
        ("rows=7", "no threshold 'rows'"),
        ("hnsw_rows", "hnsw_rows must be a whole number of at least 1, got ''"),
        ("hnsw_rows=0", "at least 1, got '0'"),
        ("hnsw_rows=1.5", "a whole number of at least 1, got '1.5'"),
        ("dead_share=nan", "dead_share must be a number of at least 0, got 'nan'"),
        ("gpu.timeout_s=inf", "a number of at least 0, got 'inf'"),
        ("hnsw_rows=7,", "no threshold ''"),
    ],
)
def test_a_wrong_name_or_value_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        tuned(text)

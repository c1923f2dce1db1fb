"""Recall that is measured on searches of every kind of store, and told with its interval."""

from collections.abc import Iterator

import numpy as np
import pytest

from kokeshi.index.passing import PassingStore
from kokeshi.index.recall import Effort, Measured, Pace, Sampling
from kokeshi.service.search_types import SearchMode

ROWS, DIM, K, QUERIES = 240, 128, 10, 24
EAGER = Pace(core_share=1000.0, survey_s=0.05, niceness=0)
FUNNEL = {"k": K, "mode": SearchMode.TWO_STAGE, "dimension": 64, "shortlist": K}


class Unclosed(PassingStore):
    """The store that other tests go on with."""

    def close(self):
        pass


def made_vectors(rows, seed):
    """(rows, DIM) unit float32, whose prefixes say little of the whole."""
    vectors = np.random.default_rng(seed).standard_normal((rows, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


VECTORS, ASKED = made_vectors(ROWS, 1), made_vectors(QUERIES, 2)


@pytest.fixture
def measured(kept, serving) -> Iterator[tuple[object, Measured]]:
    """A service that repeats every search, and its store."""
    if "hard" not in kept.made:
        kept.fill("hard", VECTORS, dimensions=(16, 64, 128))
        kept.made["hard"] = True
    store = Measured(
        Unclosed(kept.store.inner),
        sampling=Sampling(share=1.0),
        pace=EAGER,
        effort=Effort(queries=0),
    )
    with serving(kept, store) as again:
        yield again, store


def recall_of(again, queries, **how):
    """Of searches, by NumPy."""
    found = 0
    for query in queries:
        hits = again.search("hard", query, **how).results[0]
        nearest = np.argsort(-(VECTORS.astype(float) @ query.astype(float)))[:K]
        found += len({hit.id for hit in hits} & {f"i{row}" for row in nearest})
    return found / (K * len(queries))


def test_an_answer_tells_the_recall_of_searches_like_it(measured):
    again, store = measured
    first = again.search("hard", ASKED[0], **FUNNEL)
    assert not first.exact
    truth = recall_of(again, ASKED, **FUNNEL)
    assert 0.3 < truth < 1
    assert store.wait_measured()
    told = again.search("hard", ASKED[0], **FUNNEL).recall_estimate
    assert told is not None
    assert told.samples > QUERIES / 2
    assert told.low <= truth <= told.high
    assert told.high - told.low < 0.3


def test_an_exact_answer_has_all(measured):
    again, _ = measured
    told = again.search("hard", ASKED[0], k=K, mode=SearchMode.EXACT).recall_estimate
    assert (told.value, told.low, told.high) == (1, 1, 1)


def test_a_recall_that_is_asked_for_is_reached(measured):
    again, store = measured
    asked = {"k": K, "recall_target": 0.9}
    for query in ASKED[:6]:
        again.search("hard", query, **asked)
    assert store.wait_measured()
    assert recall_of(again, ASKED[6:18], **asked) >= 0.88

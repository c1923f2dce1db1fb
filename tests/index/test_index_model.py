"""Random sequences of calls against a dict."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from kokeshi.errors import ItemNotFoundError
from kokeshi.index import CollectionSpec, EmbeddedStore, Item, SearchParams, Tuning

SPACE = "0123456789abcdef"
IDS = st.sampled_from([f"id{i}" for i in range(12)])
# a coarse grid, so that equal vectors and equal scores are common
VALUES = st.sampled_from([-1.0, 0.0, 0.5, 1.0])
VECTORS = st.tuples(*[VALUES] * 4).filter(lambda values: any(values[:2]))
ROWS = st.dictionaries(IDS, VECTORS, min_size=1, max_size=6)


class StoreMachine(RuleBasedStateMachine):
    """A collection must answer as a dict does, before and after any restart or rebuild."""

    queries = Bundle("queries")

    def __init__(self):
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.rows = {}
        self.store = self.opened()

    def opened(self):
        return EmbeddedStore(
            self.directory,
            Tuning(
                tail_rows=3,
                dead_rows=3,
                dead_share=0.3,
                segment_rows=4,
                codes_rows=5,
                shortlist_rows=2,
            ),
        )

    def teardown(self):
        self.store.close()
        shutil.rmtree(self.directory)

    @initialize(
        metric=st.sampled_from(["cosine", "l2"]), index=st.sampled_from(["flat", "codes", "hnsw"])
    )
    def create(self, metric, index):
        self.metric = metric
        self.store.create(
            CollectionSpec("faces", SPACE, 4, dimensions=(2, 4), metric=metric, index=index)
        )

    @rule(rows=ROWS)
    def upsert(self, rows):
        items = [Item(name, np.asarray(v, np.float32), {"v": v[0]}) for name, v in rows.items()]
        self.store.upsert("faces", items, space=SPACE)
        for name, vector in rows.items():
            self.rows.pop(name, None)  # a replaced row is the newest
            self.rows[name] = vector

    @rule(ids=st.lists(IDS, min_size=1, max_size=6, unique=True))
    def delete(self, ids):
        assert self.store.delete("faces", ids).count == sum(name in self.rows for name in ids)
        for name in ids:
            self.rows.pop(name, None)

    @rule(name=IDS)
    def get(self, name):
        try:
            [item] = self.store.get("faces", [name], with_vectors=True)
        except ItemNotFoundError:
            assert name not in self.rows
        else:
            assert tuple(item.vector.tolist()) == self.rows[name]
            assert item.metadata == {"v": self.rows[name][0]}

    @rule(query=VECTORS, k=st.integers(1, 14), dimension=st.sampled_from([2, 4, None]))
    def search(self, query, k, dimension):
        found = self.store.search(
            "faces", [query], SearchParams(k, dimension, exact=True), space=SPACE
        )
        scores = self.scores(np.asarray(query), dimension or 4)
        best = sorted(scores.values(), reverse=self.metric == "cosine")[:k]
        hits = found.hits[0]
        np.testing.assert_allclose([hit.score for hit in hits], best, atol=1e-6)
        for hit in hits:
            np.testing.assert_allclose(hit.score, scores[hit.id], atol=1e-6)
        assert len({hit.id for hit in hits}) == len(hits)

    @rule()
    def rebuild(self):
        assert self.store.wait_idle()

    @rule()
    def reopen(self):
        self.store.close()
        self.store = self.opened()

    @invariant()
    def holds_what_the_dict_holds(self):
        if self.rows or self.store.collections():
            assert self.store.describe("faces").count == len(self.rows)
            page = self.store.scroll("faces", limit=100)
            assert [item.id for item in page.items] == list(self.rows)

    def scores(self, query, dimension):
        scores = {}
        for name, values in self.rows.items():
            vector, prefix = np.asarray(values)[:dimension], query[:dimension]
            if self.metric == "l2":
                scores[name] = float(np.linalg.norm(vector - prefix))
            else:
                scores[name] = float(
                    vector @ prefix / np.linalg.norm(vector) / np.linalg.norm(prefix)
                )
        return scores


StoreMachine.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestStoreMachine = StoreMachine.TestCase

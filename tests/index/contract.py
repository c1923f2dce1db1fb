"""What every store has to keep of `kokeshi.index.store.Store`: the parts that the tests share.

The tests are in the files contract_*.py; test_store_contract.py runs them on the stores of this
house, and a store of another house can be run through them in the same way.
"""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest

from kokeshi.errors import UnimplementedError
from kokeshi.index import CollectionSpec, Item, SearchParams

SPACE = "0123456789abcdef"
OTHER_SPACE = "fedcba9876543210"
DIM = 32
DIMENSIONS = (4, 8, 16, 32)
METRICS = ("cosine", "ip", "l2")

_numbers = itertools.count()


class Subject:
    """A store under test, with collections that are dropped after the test."""

    def __init__(self, store):
        self.store = store
        self.capabilities = store.capabilities
        self._made = []

    def name(self):
        self._made.append(f"c-{next(_numbers)}")
        return self._made[-1]

    def spec(self, **settings):
        values = {"dim": DIM, "dimensions": DIMENSIONS, **settings}
        if "name" not in values:
            values["name"] = self.name()
        if values["dim"] != DIM and "dimensions" not in settings:
            values["dimensions"] = ()
        return CollectionSpec(space=values.pop("space", SPACE), **values)

    def create(self, **settings):
        """Makes a collection; skips the test where the store declares that it cannot."""
        spec = self.spec(**settings)
        is_able = spec.metric in self.capabilities.metrics and (
            spec.index == "auto" or spec.index in self.capabilities.kinds
        )
        if not is_able:
            with pytest.raises(UnimplementedError, match=r"^[^A-Z]"):
                self.store.create(spec)
            pytest.skip(f"declared: no {spec.metric}, or no {spec.index}")
        self.store.create(spec)
        return spec.name

    def put(self, name, items, **options):
        return self.store.upsert(name, items, space=SPACE, **options)

    def fill(self, name, vectors, batch=500, **options):
        items = items_of(vectors)
        for start in range(0, len(items), batch):
            receipt = self.put(name, items[start : start + batch], **options)
        return receipt

    def search(self, name, query, **params):
        """Hits of one query."""
        return self.found(name, [query], **params).hits[0]

    def found(self, name, queries, **params):
        return self.store.search(name, np.asarray(queries), SearchParams(**params), space=SPACE)

    def all(self, name, limit=100, **options) -> list[Item]:
        return list(self.scrolled(name, limit, **options))

    def scrolled(self, name, limit=100, **options) -> Iterator[Item]:
        cursor = None
        while True:
            page = self.store.scroll(name, cursor=cursor, limit=limit, **options)
            assert len(page.items) <= limit
            yield from page.items
            cursor = page.cursor
            if cursor is None:
                return

    def clean(self):
        for info in self.store.collections():
            if info.spec.name in self._made:
                self.store.drop(info.spec.name)


def vectors_of(count, dim=DIM, seed=0, norm=False):
    """Vectors with the energy of a Matryoshka embedding, (count, dim) float32."""
    rng = np.random.default_rng(seed)
    spectrum = np.arange(1, dim + 1) ** -0.5
    vectors = (rng.standard_normal((count, dim)) * spectrum).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if norm else vectors


def items_of(vectors, first=0):
    return [
        Item(f"id{first + place}", vector, {"number": first + place})
        for place, vector in enumerate(vectors)
    ]


def one(item_id="a", dim=DIM, seed=0, **metadata):
    return Item(item_id, vectors_of(1, dim, seed)[0], metadata)


def scores_of(vectors, query, metric, dimension):
    """Scores by the book, larger is nearer: a similarity, or a distance negated."""
    rows = np.asarray(vectors, np.float64)[:, :dimension]
    query = np.asarray(query, np.float64)[:dimension]
    if metric == "l2":
        return -np.sqrt(((rows - query) ** 2).sum(axis=1))
    if metric == "ip":
        return rows @ query
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    return np.divide(rows @ query, norms, out=np.zeros(len(rows)), where=norms > 1e-12)


def nearest(vectors, query, metric, dimension, k):
    """Places of the k nearest, best first, equal ones by age."""
    return np.argsort(-scores_of(vectors, query, metric, dimension), kind="stable")[:k]


def ids(hits):
    return [hit.id for hit in hits]


def same(left, right):
    """Equality of JSON values that tells 1 from 1.0 and True, and 0.0 from -0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return left == right and math.copysign(1, left) == math.copysign(1, right)
    return left == right

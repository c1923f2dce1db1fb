"""What a store must hold: the acknowledged writes, and at most the one that was under way."""

import threading

import numpy as np

from faultkit.work import DIM, GROUPS, NAME, SPACE, TENANTS, item_of
from kokeshi.errors import ItemNotFoundError
from kokeshi.index import SearchParams
from kokeshi.index.filters import Equals

PAGE_ROWS = 50


class Ledger:
    """Notes writes as they begin and as they are acknowledged.

    `state` maps (tenant, id) to (seed, operation, position) of the item that must be there.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.state = {}
        self.pending = None
        self.history = []

    def begin(self, operation):
        with self.lock:
            self.pending = operation

    def acknowledge(self, operation):
        with self.lock:
            self.state = after(self.state, operation)
            self.history.append(operation)
            self.pending = None

    def refuse(self):
        """The write under way did not happen."""
        with self.lock:
            self.pending = None

    def possible(self):
        """States that are right now, the acknowledged one first."""
        if self.pending is None:
            return [self.state]
        return [self.state, after(self.state, self.pending)]

    def prefixes(self):
        """States of every prefix of the history, the longest first."""
        states = [{}]
        for operation in self.history:
            states.append(after(states[-1], operation))
        return [*self.possible()[1:], *reversed(states)]

    def copy(self):
        """Of what is noted now; the caller holds `lock`."""
        other = Ledger()
        other.state, other.pending = self.state, self.pending
        other.history = list(self.history)
        return other

    def adopt(self, state):
        """Goes on from what a restart has shown."""
        if self.pending is not None and state == after(self.state, self.pending):
            self.history.append(self.pending)
        self.state, self.pending = state, None


def after(state, operation):
    """The state once an operation is done."""
    changed = dict(state)
    if operation.kind == "upsert":
        for position, item_id in enumerate(operation.ids):
            changed[operation.tenant, item_id] = (operation.seed, operation.number, position)
    elif operation.kind == "delete":
        for item_id in operation.ids:
            changed.pop((operation.tenant, item_id), None)
    else:
        for key, origin in state.items():
            if key[0] == operation.tenant and group_of(key[1], origin) == operation.group:
                del changed[key]
    return changed


def group_of(item_id, origin):
    return item_of(*origin, item_id).metadata["group"]


def read_all(store, name=NAME):
    """Every item by (tenant, id), by scrolling; fails on an item that is not whole."""
    found = {}
    for tenant in TENANTS:
        cursor = None
        while True:
            page = store.scroll(
                name, cursor=cursor, limit=PAGE_ROWS, with_vectors=True, tenant=tenant
            )
            for item in page.items:
                assert (tenant, item.id) not in found, f"{tenant!r}, {item.id!r} twice"
                found[tenant, item.id] = origin_of(item)
            cursor = page.cursor
            if cursor is None:
                break
    return found


def origin_of(item):
    """Which write an item is of; fails unless every byte of it is that write's."""
    metadata = item.metadata
    origin = (metadata["seed"], metadata["op"], metadata["position"])
    expected = item_of(*origin, item.id)
    assert item.metadata == expected.metadata, f"{item.id!r}: torn metadata"
    assert item.vector.tobytes() == expected.vector.tobytes(), f"{item.id!r}: torn vector"
    return origin


def check(store, states, name=NAME, note=""):
    """Fails unless the store holds one of the states, in every one of its answers; that state."""
    found = read_all(store, name)
    matching = [state for state in states if state == found]
    assert matching, f"{note}: {difference(states[0], found)}"
    check_reads(store, found, name, note)
    return found


def difference(expected, found):
    lost = sorted(expected.keys() - found.keys())
    extra = sorted(found.keys() - expected.keys())
    other = sorted(key for key in expected.keys() & found.keys() if expected[key] != found[key])
    changed = [(key, expected[key], found[key]) for key in other]
    return f"lost {lost[:5]}, not deleted {extra[:5]}, of another write {changed[:5]}"


def check_reads(store, state, name=NAME, note=""):
    """Count, get, search and filters agree with the state."""
    assert store.describe(name).quarantine is None
    assert store.describe(name).count == len(state)
    for tenant in TENANTS:
        mine = {key[1]: origin for key, origin in state.items() if key[0] == tenant}
        assert store.count(name, tenant=tenant) == len(mine), note
        check_get(store, mine, tenant, name)
        check_exact(store, mine, tenant, name, note)
        check_isolation(store, mine, tenant, name, note)


def check_get(store, mine, tenant, name):
    if mine:
        items = store.get(name, list(mine), with_vectors=True, tenant=tenant)
        assert [item.id for item in items] == list(mine)
        assert {item.id: origin_of(item) for item in items} == mine
    absent = next(f"id{i}" for i in range(len(mine) + 1) if f"id{i}" not in mine)
    try:
        store.get(name, [absent], tenant=tenant)
    except ItemNotFoundError:
        return
    raise AssertionError(f"{absent!r} of {tenant!r} was deleted, and is there")


def check_exact(store, mine, tenant, name, note):
    """An exact search for all of them, against NumPy in float64."""
    query = np.random.default_rng(len(mine)).standard_normal(DIM, dtype=np.float32)
    params = SearchParams(k=len(mine) + 5, exact=True, with_vectors=True, tenant=tenant)
    hits = store.search(name, query[None], params, space=SPACE).hits[0]
    assert {hit.id: origin_of(hit) for hit in hits} == mine, f"{note}: exact search differs"
    for hit in hits:
        assert abs(hit.score - cosine(hit.vector, query)) < 1e-5, f"{note}: score of {hit.id!r}"
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True), f"{note}: not in order"


def check_isolation(store, mine, tenant, name, note):
    """Whatever index answers: no foreign, dead or unfitting row, and k where k exist."""
    query = np.random.default_rng(len(mine)).standard_normal(DIM, dtype=np.float32)
    for group in (None, *range(0, GROUPS, 3)):
        fitting = {
            item_id: origin
            for item_id, origin in mine.items()
            if group is None or group_of(item_id, origin) == group
        }
        chosen = None if group is None else Equals("group", group)
        params = SearchParams(k=7, with_vectors=True, filter=chosen, tenant=tenant)
        hits = store.search(name, query[None], params, space=SPACE).hits[0]
        assert len(hits) == min(7, len(fitting)), f"{note}: {len(hits)} hits"
        for hit in hits:
            assert fitting.get(hit.id) == origin_of(hit), f"{note}: {hit.id!r} does not belong"
        assert store.count(name, filter=chosen, tenant=tenant) == len(fitting), note


def cosine(left, right):
    left, right = left.astype(np.float64), right.astype(np.float64)
    return left @ right / np.sqrt((left @ left) * (right @ right))

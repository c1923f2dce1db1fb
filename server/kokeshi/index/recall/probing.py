"""Searches again what was searched, exactly and in other ways, and counts what each found."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from time import perf_counter

from kokeshi.errors import ItemNotFoundError
from kokeshi.index.asked import SearchParams
from kokeshi.index.found import Found, Hit
from kokeshi.index.items import Vector
from kokeshi.index.recall.comparing import compared, compared_across_writes
from kokeshi.index.recall.dials import EXACT, Dial, Setting, Want, dial_of
from kokeshi.index.recall.ledger import Ledger
from kokeshi.index.store import Store

Turn = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, eq=False)
class Probe:
    """A query whose neighbours become known.

    Attributes:
        name: of the collection.
        space: of the query.
        vector: (1, length) float32.
        params: of a search; its dials do not matter.
        want: what that search is after.
        is_live: a user's query; else it is a stored row.
        without: id of the item that is the query itself; it is no neighbour.
    """

    name: str
    space: str
    vector: Vector
    params: SearchParams
    want: Want
    is_live: bool
    without: str | None = None

    @property
    def asked(self) -> SearchParams:
        """What is searched for: at least one neighbour beside the query itself."""
        k = self.params.k if self.without is None else max(2, self.params.k)
        return replace(self.params, k=k, with_vectors=False, min_seq=0)

    def search(self, store: Store, setting: Setting) -> Found:
        """Searches by a setting."""
        params = setting.apply(self.asked, self.want)
        return store.search(self.name, self.vector, params, space=self.space)

    def others(self, hits: Sequence[Hit]) -> list[Hit]:
        """Hits but for the query itself."""
        return [hit for hit in hits if hit.id != self.without]


def is_exact_dial(found: Found) -> bool:
    """True where the way of a search is exact, whatever the query."""
    return found.is_exact and not found.is_proven and not found.route.shortlist


@dataclass(frozen=True, eq=False)
class Seen:
    """An answer that is to be compared.

    Attributes:
        dial: how it came about.
        hits: of the one query.
        seq: see `Found`.
        writes_since: more of them than that make it incomparable; None: no number does.
    """

    dial: Dial
    hits: Sequence[Hit]
    seq: int
    writes_since: int | None = None


def explore(
    store: Store,
    ledger: Ledger,
    probe: Probe,
    settings: Sequence[Setting],
    turn: Turn,
    seen: Seen | None = None,
) -> None:
    """Searches a query exactly and by some settings, and counts how those did.

    Args:
        store: to search.
        ledger: where it is counted.
        probe: the query.
        settings: to try.
        turn: around each search.
        seen: an answer that was given already.
    """
    with turn():
        started_s = perf_counter()
        truth = probe.search(store, EXACT)
        _note(ledger, probe, EXACT, truth, perf_counter() - started_s)
    counts = None if seen is None else _counts_of(store, probe, seen, truth)
    if seen is not None and counts is not None:
        ledger.count(seen.dial, *counts, is_live=probe.is_live)
    # one query counts once for a dial, however many settings lead to it
    counted = set() if seen is None else {seen.dial}
    for setting in settings:
        if setting == EXACT:
            continue
        with turn():
            started_s = perf_counter()
            found = probe.search(store, setting)
            took_s = perf_counter() - started_s
        dial = _note(ledger, probe, setting, found, took_s)
        if is_exact_dial(found) or dial in counted:
            continue
        counts = _counts_of(store, probe, Seen(dial, found.hits[0], found.seq), truth)
        if counts is not None:
            counted.add(dial)
            ledger.count(dial, *counts, is_live=probe.is_live)


def _counts_of(store: Store, probe: Probe, seen: Seen, truth: Found) -> tuple[int, int] | None:
    """Found and true neighbours of an answer; None where writes between the two spoilt it.

    Numbers that are times differ though nobody wrote.
    """
    if truth.seq == seen.seq:
        return _held(probe, seen.hits, truth)
    if seen.writes_since is not None and abs(truth.seq - seen.seq) > seen.writes_since:
        return None

    def seqs_of(ids: Sequence[str]) -> dict[str, int]:
        items = store.get(probe.name, ids, tenant=probe.params.tenant) if ids else []
        return {item.id: item.seq for item in items}

    try:
        return compared_across_writes(
            probe.others(seen.hits),
            probe.others(truth.hits[0]),
            seqs_of,
            min(seen.seq, truth.seq),
            higher_is_better=truth.higher_is_better,
        )
    except ItemNotFoundError:
        return None  # deleted while we looked


def _note(ledger: Ledger, probe: Probe, setting: Setting, found: Found, took_s: float) -> Dial:
    dial = replace(dial_of(found, probe.params), k=probe.want.k)
    ledger.ran(probe.want, setting, dial, is_exact=is_exact_dial(found))
    ledger.took(dial, took_s, is_live=False)
    return dial


def _held(probe: Probe, hits: Sequence[Hit], truth: Found) -> tuple[int, int]:
    return compared(
        probe.others(hits),
        probe.others(truth.hits[0]),
        higher_is_better=truth.higher_is_better,
    )

"""Moves a collection from one store to another, while it is written to.

Pages are copied oldest first; what is written meanwhile stands behind them and is copied as well.
Then both sides are compared row by row, which also finds what was deleted meanwhile; and so on
until a comparison finds nothing. The state is kept in a small file: a migration that was killed
goes on where it was, and pages that come twice are stored once. Nothing is deleted at the source.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from kokeshi.errors import (
    AlreadyExistsError,
    InvalidRequestError,
    TooLargeError,
    UnimplementedError,
)
from kokeshi.index.comparing import Difference, Side, compare, differences, digest_of
from kokeshi.index.distributed.keys import digest_of_bytes
from kokeshi.index.items import NO_TENANT, Item
from kokeshi.index.migrate_report import MAX_NAMED, Meter, Progress, Report
from kokeshi.index.migrate_state import Place, State, load
from kokeshi.index.spec import CollectionSpec
from kokeshi.index.store import Store

ROUNDS: Final = 10
SETTLING: Final = 20  # times that new writes are fetched before all is compared again


class Migration:
    """A move of one collection; the target is nobody else's until a report says `is_same`.

    After that, run again to fetch later writes; what else differs then is named and left alone, for
    it may be the work of users of the target, unless `repair` is set.

    Args:
        source: where it is.
        target: where it goes.
        name: of the collection.
        state: file that keeps how far it is.
        target_name: of the collection there; None: the same.
        tenants: whose items; None: all, where the source can list them, or nobody's.
        page_rows: rows of one page.
        repair: makes the target as the source is, whatever made it different.
        labels: names of the two stores, by which a state is told from that of other stores.
        rounds: comparisons of all rows, at most.
        progress: is told after every page.
    """

    def __init__(
        self,
        source: Store,
        target: Store,
        name: str,
        *,
        state: Path,
        target_name: str | None = None,
        tenants: Sequence[str] | None = None,
        page_rows: int = 500,
        repair: bool = False,
        labels: tuple[str, str] = ("", ""),
        rounds: int = ROUNDS,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._source, self._target, self._name = source, target, name
        self._target_name = target_name or name
        self._path, self._page_rows, self._rounds = state, page_rows, rounds
        self._given_tenants, self._repair, self._labels = tenants, repair, labels
        self._tell = progress or (lambda _: None)
        self._copied = self._removed = 0

    def run(self) -> Report:
        """Copies, compares and goes on until nothing differs.

        Raises:
            AlreadyExistsError: the target has other items, or another collection, of this name.
            UnimplementedError: the target cannot hold the collection.
            InvalidRequestError: there are items of tenants that were not named.
            SetupError: the state is that of another migration.
        """
        started = time.monotonic()
        self._prepare()
        found: list[Difference] = []
        is_same = False
        for _ in range(self._rounds):
            self._copy_all(is_checked=False)
            found = self._compare_all()
            mending = [one for one in found if self._is_mended(one)]
            if mending:
                self._mend(mending)
                continue
            is_same = not found and self._settles()
            if found or is_same:
                break
        if is_same:
            self._state.was_even = True
            self._state.save(self._path)
        return Report(
            spec=self._spec,
            rows=sum(source.count() for source, _ in self._sides()),
            copied=self._copied,
            removed=self._removed,
            is_same=is_same,
            differences=tuple(found[:MAX_NAMED]),
            difference_count=len(found),
            seconds=time.monotonic() - started,
        )

    def _prepare(self) -> None:
        there = self._source.describe(self._name).spec
        self._spec = spec_for(self._target, there, self._target_name)
        self._check_tenants()
        route = {
            "stores": list(self._labels),
            "source": {**asdict(there), "dimensions": list(there.dimensions)},
            "target": self._target_name,
        }
        state = load(self._path, route)
        info = self._target.ensure(self._spec)
        if state is None and info.count:
            raise AlreadyExistsError(
                f"collection {self._target_name!r} of the target has {info.count} items; expected "
                "none, or the state of the migration that wrote them"
            )
        self._state = state or State(route)
        self._state.save(self._path)

    def _tenants(self) -> Sequence[str]:
        if self._given_tenants is not None:
            return self._given_tenants
        if self._source.capabilities.tenants:
            return list(self._source.tenants(self._name))
        return [NO_TENANT]

    def _check_tenants(self) -> None:
        """Refuses to leave a tenant's items behind."""
        count = self._source.describe(self._name).count
        seen = sum(self._source.count(self._name, tenant=tenant) for tenant in set(self._tenants()))
        if seen < count:
            raise InvalidRequestError(
                f"{count - seen} of the {count} items of collection {self._name!r} belong to "
                "tenants that are not named"
            )

    def _sides(self) -> Iterator[tuple[Side, Side]]:
        for tenant in self._tenants():
            yield (
                Side(self._source, self._name, tenant),
                Side(self._target, self._target_name, tenant),
            )

    def _copy_all(self, *, is_checked: bool) -> bool:
        """Copies what is new; true where there was nothing, or it is the same when read back."""
        sides = list(self._sides())
        meter = Meter("copy", self._tell, sum(source.count() for source, _ in sides))
        are_right = [self._copy(*pair, meter, is_checked=is_checked) for pair in sides]
        return all(are_right)

    def _copy(self, source: Side, target: Side, meter: Meter, *, is_checked: bool) -> bool:
        place = self._state.place(source.tenant)
        is_right, latest = True, place.seq
        while True:
            page = source.page(place.cursor, self._page_rows, with_vectors=True)
            # up to `place.seq` all is copied; a page that ends no scroll is behind that
            items = [item for item in page.items if item.seq > place.seq]
            if items:
                self._put(target, items, is_noted=True)
                is_right = is_right and not (is_checked and compare(items, target))
            latest = max([latest, *(item.seq for item in items)])
            meter.add(len(items))
            if page.cursor is None:
                break
            place.cursor = page.cursor
            self._state.save(self._path)
        self._reach(place, latest)
        return is_right

    def _reach(self, place: Place, seq: int) -> None:
        if seq != place.seq:
            place.seq = seq
            self._state.save(self._path)

    def _put(self, target: Side, items: Sequence[Item], *, is_noted: bool) -> None:
        """Writes items; under a request id that is that of these writes of the source, if noted."""
        is_noted = is_noted and target.store.capabilities.request_ids
        try:
            target.store.upsert(
                target.name,
                items,
                space=self._spec.space,
                request_id=request_id_of(target, items) if is_noted else None,
                tenant=target.tenant,
            )
        except TooLargeError:
            half = len(items) // 2
            if not half:
                raise
            self._put(target, items[:half], is_noted=is_noted)
            self._put(target, items[half:], is_noted=is_noted)
            return
        self._copied += len(items)

    def _compare_all(self) -> list[Difference]:
        found: list[Difference] = []
        sides = list(self._sides())
        meter = Meter("compare", self._tell, sum(source.count() for source, _ in sides))
        for source, target in sides:
            for page in differences(source, target, self._page_rows):
                found.extend(page.found)
                meter.add(page.rows)
        return found

    def _is_mended(self, one: Difference) -> bool:
        """True for what writes and deletes explain that came meanwhile."""
        if self._repair or one.seq > self._state.place(one.tenant).seq:
            return True
        return not self._state.was_even and one.what != "different"

    def _mend(self, found: Sequence[Difference]) -> None:
        """Makes rows of the target as they are in the source now."""
        for source, target in self._sides():
            ids = [one.id for one in found if one.tenant == source.tenant]
            for start in range(0, len(ids), self._page_rows):
                self._mend_some(source, target, ids[start : start + self._page_rows])

    def _mend_some(self, source: Side, target: Side, ids: Sequence[str]) -> None:
        there = source.present(ids, with_vectors=True)
        if there:
            self._put(target, list(there.values()), is_noted=False)
        gone = [item_id for item_id in ids if item_id not in there]
        if gone:
            receipt = target.store.delete(target.name, gone, tenant=target.tenant)
            self._removed += receipt.count

    def _settles(self) -> bool:
        """True when new writes are fetched until there are none, and the two sides count alike."""
        for _ in range(SETTLING):
            before = self._copied
            if not self._copy_all(is_checked=True):
                return False
            if self._copied == before:
                return all(source.count() == target.count() for source, target in self._sides())
        return False


def spec_for(target: Store, spec: CollectionSpec, name: str) -> CollectionSpec:
    """A collection's settings as a store can take them: an index that it lacks, it chooses.

    Raises:
        UnimplementedError: it cannot compare vectors so.
    """
    able = target.capabilities
    if spec.metric not in able.metrics:
        raise UnimplementedError(f"the target has no metric {spec.metric!r}")
    is_built = spec.index in able.kinds
    return replace(
        spec,
        name=name,
        index=spec.index if is_built else "auto",
        graph_dimension=spec.graph_dimension if is_built else None,
    )


def request_id_of(target: Side, items: Sequence[Item]) -> str:
    """A request id of these writes of the source: the same for a page that comes twice."""
    parts = (digest_of(item, target.tenant) + b"%d" % item.seq for item in items)
    return f"migrate.{digest_of_bytes(target.name.encode(), *parts)}"

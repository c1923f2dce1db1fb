"""The GPUs of this process: which collections they hold, and what is done when one is lost."""

import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from kokeshi.index.forms import Form
from kokeshi.index.forms.form import IsStopped, Progress
from kokeshi.index.geometry import Geometry
from kokeshi.index.gpu.building import extended, fresh
from kokeshi.index.gpu.device import Gpu
from kokeshi.index.gpu.faults import GpuFullError, GpuLostError, UnfitRowsError
from kokeshi.index.gpu.form import GpuForm
from kokeshi.index.gpu.limits import GpuLimits
from kokeshi.index.gpu.owner import Owner
from kokeshi.index.gpu.probe import usable_gpus
from kokeshi.index.gpu.room import row_bytes
from kokeshi.index.kernels import Part
from kokeshi.index.spec import CollectionSpec

logger = logging.getLogger(__name__)

TRIES: Final = 2  # the first may have come while an older form held the room


class Watcher(Protocol):
    """Whoever holds something on GPUs."""

    def gpu_lost(self) -> None:
        """Called when a GPU was given up, on the thread that found out."""


class Gpus:
    """All GPUs that FAISS can use; they are looked for when first asked for.

    Args:
        probe: finds them, within so many seconds.
    """

    def __init__(self, probe: Callable[[float], Sequence[Gpu]] = usable_gpus) -> None:
        self._probe = probe
        self._finding = threading.Lock()
        self._owners: list[Owner] | None = None
        self._failures: dict[CollectionSpec, int] = {}
        self._watchers: weakref.WeakSet[Watcher] = weakref.WeakSet()

    def owners(self, limits: GpuLimits) -> list[Owner]:
        """GPUs that work; `limits` are kept from the first call."""
        with self._finding:
            if self._owners is None:
                found = self._probe(limits.probe_timeout_s)
                self._owners = [Owner(gpu, limits, self._tell) for gpu in found]
            return [owner for owner in self._owners if not owner.lost]

    def suits(
        self, spec: CollectionSpec, rows: int, lengths: Sequence[int], limits: GpuLimits
    ) -> bool:
        """Tells whether GPUs should hold a collection of so many rows, at one of the lengths."""
        is_auto = spec.index == "auto" and 0 < limits.rows <= rows
        if spec.metric == "hyperbolic" or not (is_auto or spec.index == "gpu"):
            return False
        if self._failures.get(spec, 0) >= TRIES:
            return False
        return _length(self.owners(limits), spec, rows, lengths) is not None

    def build(
        self,
        spec: CollectionSpec,
        parts: Sequence[Part],
        lengths: Sequence[int],
        before: Form | None,
        limits: GpuLimits,
        is_stopped: IsStopped,
        progress: Progress,
    ) -> GpuForm | None:
        """A form over all rows of the parts; None where GPUs cannot hold them after all.

        Args:
            spec: of the collection.
            parts: its rows.
            lengths: trained prefix lengths that will do, best first.
            before: a form over the first of the rows; its shards are shared where it is on GPUs.
            limits: see `GpuLimits`.
            is_stopped: asked now and then.
            progress: told the share that is done, 0 to 1.

        Raises:
            BuildStoppedError: `is_stopped` said so.
        """
        geometry, owners = Geometry.of(spec), self.owners(limits)
        try:
            if isinstance(before, GpuForm) and not before.is_lost:
                form = extended(before, geometry, parts, owners, is_stopped, progress)
            else:
                rows = sum(len(part.block) for part in parts)
                length = _length(owners, spec, rows, lengths)
                if length is None:
                    raise GpuFullError("more rows than GPUs may hold")
                form = fresh(geometry, parts, length, owners, is_stopped, progress)
        except GpuLostError:
            return None
        except (GpuFullError, UnfitRowsError) as error:
            self._refuse(spec, str(error), tries=1 if isinstance(error, GpuFullError) else TRIES)
            return None
        self._failures.pop(spec, None)
        return form

    def tell_losses(self, watcher: Watcher) -> None:
        """Tells whenever a GPU was lost, for as long as the watcher lives."""
        self._watchers.add(watcher)

    def close(self) -> None:
        """Ends all threads and forgets the GPUs; they are looked for again when asked for."""
        with self._finding:
            owners, self._owners = self._owners or [], None
        for owner in owners:
            owner.close()
        self._failures.clear()

    def _refuse(self, spec: CollectionSpec, reason: str, tries: int) -> None:
        failures = self._failures[spec] = self._failures.get(spec, 0) + tries
        if failures >= TRIES:
            logger.warning(
                "collection %r stays on the CPU until the next start: %s", spec.name, reason
            )

    def _tell(self) -> None:
        for watcher in list(self._watchers):
            watcher.gpu_lost()


def _length(
    owners: Sequence[Owner], spec: CollectionSpec, rows: int, lengths: Sequence[int]
) -> int | None:
    """The best length at which so many rows fit into all GPUs together, as graphs where some are.

    Rows that are sent in shards too small for graphs take less.
    """
    most = sum(owner.room.size_bytes for owner in owners)
    is_graph = spec.metric != "ip" and any(owner.suits_graph(rows) for owner in owners)
    fits = (one for one in lengths if rows * row_bytes(one, is_graph=is_graph) <= most)
    return next(fits, None)


GPUS = Gpus()

"""What every version of every model is doing: written as it changes, read from any thread."""

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Final

from kokeshi import metrics
from kokeshi.engines.protocol import ModelStatus, State

logger = logging.getLogger(__name__)

Key = tuple[str, int]  # a model's name, and a version
_LEVELS: Final = {State.FAILED: logging.ERROR, State.DEGRADED: logging.WARNING}


class Board:
    """The states, each change of which is a line in the log and a value of the gauge."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._statuses: Mapping[Key, ModelStatus] = {}  # replaced, never changed

    def tell(self, status: ModelStatus) -> None:
        """Puts up the state of a version in place of the one before."""
        key = status.name, status.version
        with self._lock:
            before = self._statuses.get(key)
            self._statuses = {**self._statuses, key: status}
        if status.version:
            metrics.MODEL_READY.labels(*key).set(int(status.answers))
        if before is None or (before.state, before.reason) != (status.state, status.reason):
            _log(status)

    def forget(self, name: str, version: int) -> None:
        """Takes down a version that is no more, with its gauge."""
        with self._lock:
            self._statuses = {
                key: status for key, status in self._statuses.items() if key != (name, version)
            }
        metrics.MODEL_READY.remove_by_labels({"model": name, "version": str(version)})

    def get(self, name: str, version: int) -> ModelStatus | None:
        """The state of a version."""
        return self._statuses.get((name, version))

    def of(self, name: str) -> Sequence[ModelStatus]:
        """The states of a model, by version."""
        return [status for status in self.all() if status.name == name]

    def all(self) -> Sequence[ModelStatus]:
        """Every state, by name and version."""
        statuses = self._statuses
        return [statuses[key] for key in sorted(statuses)]


def _log(status: ModelStatus) -> None:
    which = f"model {status.name}" + (f" version {status.version}" if status.version else "")
    why = f": {status.reason}" if status.reason else ""
    logger.log(_LEVELS.get(status.state, logging.INFO), "%s is %s%s", which, status.state, why)

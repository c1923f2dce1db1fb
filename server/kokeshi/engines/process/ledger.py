"""What gateways have to know of an engine in another process, kept up to date without asking it.

The engine's process keeps a ledger; each gateway holds a mirror of it, and waits for what changes.
"""

import logging
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from kokeshi.card import Card
from kokeshi.engines.config import ModelConfig
from kokeshi.engines.protocol import Engine, ModelStatus, State
from kokeshi.engines.statistics import ModelStatistics
from kokeshi.errors import KokeshiError, ModelNotFoundError, UnavailableError

logger = logging.getLogger(__name__)
RETRY_S: Final = 1.0

POLL_S: Final = 0.02  # between two looks at the engine's states


@dataclass(frozen=True)
class Detail:
    """A version that answers."""

    config: ModelConfig
    pbtxt: str
    card: Card | KokeshiError
    max_rows: int


@dataclass(frozen=True)
class Record:
    """A model: its versions, and by version what `config` and its like return or raise."""

    statuses: tuple[ModelStatus, ...]
    details: Mapping[int, Detail | KokeshiError]  # 0 is the newest


@dataclass(frozen=True)
class Notice:
    """What a mirror lacks. `epoch` is of the engine's process, `generation` counts changes."""

    epoch: int
    generation: int
    names: Sequence[str]  # of all models
    changed: Mapping[str, Record]
    counted: Sequence[ModelStatistics]
    providers: Sequence[str]
    path: str


class Ledger:
    """Records of an engine's models.

    Args:
        engine: is looked at every `POLL_S`: its board is of its own process's memory.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._epoch = secrets.randbits(63)
        self._changed = threading.Condition()
        self._generation = 0
        self._records: dict[str, tuple[int, Record]] = {}  # with the generation of its change
        self._closing = threading.Event()
        self.refresh()
        self._thread = threading.Thread(target=self._follow, name="ledger", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Looks no more, and lets go of those who wait."""
        self._closing.set()
        self._thread.join()
        with self._changed:
            self._changed.notify_all()

    def refresh(self) -> None:
        """Looks at the engine now."""
        with self._changed:  # read inside, so that older news never follows newer
            found: dict[str, list[ModelStatus]] = {}
            for status in self._engine.models():
                found.setdefault(status.name, []).append(status)
            changed = [name for name in found if not self._same(name, found[name])]
            gone = self._records.keys() - found.keys()
            if not (changed or gone):
                return
            self._generation += 1
            for name in gone:
                del self._records[name]
            for name in changed:
                record = Record(tuple(found[name]), self._details(name, found[name]))
                self._records[name] = self._generation, record
            self._changed.notify_all()

    def since(self, epoch: int, generation: int, wait_s: float) -> Notice:
        """What changed after a generation, at once or when something does; or after `wait_s`."""
        with self._changed:
            if (epoch, generation) == (self._epoch, self._generation):
                self._changed.wait(wait_s)
            after = generation if epoch == self._epoch else 0
            changed = {name: record for name, (at, record) in self._records.items() if at > after}
            names, generation = list(self._records), self._generation
        return Notice(
            self._epoch,
            generation,
            names,
            changed,
            self._engine.counted(),
            self._engine.providers(),
            self._engine.path(),
        )

    def _follow(self) -> None:
        while not self._closing.wait(POLL_S):
            try:
                self.refresh()
            except Exception:  # gateways would never hear of the models again
                logger.exception("the engine's models cannot be read")
                self._closing.wait(RETRY_S)

    def _same(self, name: str, statuses: Sequence[ModelStatus]) -> bool:
        _, known = self._records.get(name, (0, None))
        if known is None or len(known.statuses) != len(statuses):
            return False
        pairs = zip(known.statuses, statuses, strict=True)
        return all(left is right or left == right for left, right in pairs) and all(
            self._pbtxt(name, version) == detail.pbtxt  # loaded again, with another configuration
            for version, detail in known.details.items()
            if isinstance(detail, Detail)
        )

    def _pbtxt(self, name: str, version: int) -> str:
        try:
            return self._engine.pbtxt(name, version)
        except KokeshiError:
            return ""

    def _details(
        self, name: str, statuses: Sequence[ModelStatus]
    ) -> dict[int, Detail | KokeshiError]:
        return {version: self._detail(name, version) for version in (0, *_versions(statuses))}

    def _detail(self, name: str, version: int) -> Detail | KokeshiError:
        engine = self._engine
        try:
            try:
                card: Card | KokeshiError = engine.card(name, version)
            except (ModelNotFoundError, UnavailableError):
                raise
            except KokeshiError as error:  # it has none, and answers tensors alone
                card = error.with_traceback(None)
            return Detail(
                engine.config(name, version),
                engine.pbtxt(name, version),
                card,
                engine.max_rows(name, version),
            )
        except KokeshiError as error:
            return error.with_traceback(None)


def _versions(statuses: Sequence[ModelStatus]) -> list[int]:
    return [status.version for status in statuses if status.version]


@dataclass
class Mirror:
    """The copy of a ledger. Readers need no lock: what they read is replaced, never changed."""

    epoch: int = 0
    generation: int = 0
    counted: Sequence[ModelStatistics] = ()
    providers: Sequence[str] = ()
    path: str = ""
    lost: str = ""  # why there is nobody to ask; empty: there is
    _records: Mapping[str, Record] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def apply(self, notice: Notice) -> None:
        """Takes over what changed."""
        with self._lock:
            if notice.epoch == self.epoch and notice.generation < self.generation:
                return  # another thread was told something newer
            merged = {**self._records, **notice.changed}
            self._records = {name: merged[name] for name in notice.names}
            self.epoch, self.generation = notice.epoch, notice.generation
            self.counted, self.providers, self.path = notice.counted, notice.providers, notice.path
            self.lost = ""

    def lose(self, reason: str) -> None:
        """The engine's process is gone: no model answers."""
        self.lost = reason

    def models(self) -> Sequence[ModelStatus]:
        """See `Engine.models`."""
        lost = self.lost
        statuses = [status for record in self._records.values() for status in record.statuses]
        statuses.sort(key=lambda status: (status.name, status.version))
        return [_failed(status, lost) for status in statuses] if lost else statuses

    def detail(self, model: str, version: int) -> Detail:
        """A version that answers; raises as `Engine.config` does."""
        record = self._records.get(model)
        if self.lost and (record is not None or not self._records):
            raise UnavailableError(f"model {model!r} is failed: {self.lost}")
        found = _found(record, model, version)
        if isinstance(found, KokeshiError):
            raise _again(found)
        return found

    def card(self, model: str, version: int) -> Card:
        """Its card; raises as `Engine.card` does."""
        card = self.detail(model, version).card
        if isinstance(card, KokeshiError):
            raise _again(card)
        return card


def _found(record: Record | None, model: str, version: int) -> Detail | KokeshiError:
    if record is None:
        which = f"model named {model!r}" + (f" with version {version}" if version else "")
        return ModelNotFoundError(f"no {which}")
    if version in record.details:
        return record.details[version]
    if not _versions(record.statuses):  # none could be read
        return record.details[0]
    return ModelNotFoundError(f"no model named {model!r} with version {version}")


def _failed(status: ModelStatus, reason: str) -> ModelStatus:
    if status.state is State.ABSENT:
        return status
    return replace(status, state=State.FAILED, reason=reason, progress=None)


def _again(error: KokeshiError) -> KokeshiError:
    """A copy, because each raising adds to the traceback of the error itself."""
    copy = type(error)(*error.args)
    copy.__dict__.update(error.__dict__)
    return copy

"""Fills a collection from a source, and goes on where it was interrupted."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from filecmp import cmp
from hashlib import blake2b
from itertools import chain, count
from pathlib import Path
from typing import IO, Final, Literal

import orjson

from kokeshi.cli.index_exchange.batches import Batch, Portion, batches
from kokeshi.cli.index_exchange.sources import Source, read_on, reading
from kokeshi.errors import (
    AlreadyExistsError,
    OverloadedError,
    SetupError,
    TooLargeError,
    UnavailableError,
)
from kokeshi.gateway.client import Client
from kokeshi.service.types import Ingested, NewItem, OnConflict

ATTEMPTS: Final = 6  # in a row without a batch stored
WAIT_S: Final = 0.5  # before the second attempt; doubled for each further one
SAVE_EVERY_S: Final = 0.5
STREAM_ID_BYTES: Final = 16

Conflict = Literal["fail", "replace", "skip"]


@dataclass
class State:
    """How far it is; kept in a file.

    Attributes:
        stream: names the source, the collection and how the one is put into the other.
        since: sequence of the collection when the import began.
        next: number of the first record that is not dealt with.
        known: stored under the same request ids before the import began.
        errors_bytes: of the file of errors.
    """

    stream: str
    since: int = 0
    next: int = 0
    stored: int = 0
    known: int = 0
    skipped: int = 0
    failed: int = 0
    errors_bytes: int = 0

    @classmethod
    def load(cls, path: Path, stream: str, since: int) -> "State":
        """The state in a file, or that of the beginning where there is none.

        Args:
            path: of the file.
            stream: as it has to be.
            since: sequence of the collection now, in case the import begins now.

        Raises:
            SetupError: the file is of something else.
        """
        try:
            found = cls(**orjson.loads(path.read_bytes()))
        except FileNotFoundError:
            return cls(stream, since)
        except (OSError, TypeError, orjson.JSONDecodeError):
            found = cls("")
        if found.stream != stream:
            raise SetupError(
                f"{path} is of another import, or the file or the server's limits changed since: "
                "remove it to begin again, or name another with --state"
            )
        return found

    def save(self, path: Path) -> None:
        """Writes the state aside and puts it in its place."""
        aside = path.with_name(f"{path.name}.new")
        aside.write_bytes(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))
        aside.replace(path)


@dataclass
class Filling:
    """Fills one collection from one source.

    Every batch is sent under a request id that follows from the content of the source, so that a
    batch that is sent again is not stored twice.

    Args:
        client: of the server.
        collection: by name.
        source: of the items.
        state_file: keeps how far it is; removed when all is done.
        errors_file: a line of JSON for each record that was refused; removed when there are none.
            One that an earlier import left is kept under another name.
        on_conflict: what to do about an id that exists.
        tenant: whose items they become.
        space: of the vectors; "" takes them to be of the collection's.
        on_progress: told of the state after each batch.
    """

    client: Client
    collection: str
    source: Source
    state_file: Path
    errors_file: Path
    on_conflict: Conflict = "fail"
    tenant: str = ""
    space: str = ""
    on_progress: Callable[[State], None] = lambda state: None
    state: State = field(init=False)
    began: int = field(default=0, init=False)  # number of the first record of this run
    set_aside: Path | None = field(default=None, init=False)  # errors of an earlier import

    def run(self) -> State:
        """Stores all that is not stored yet; returns the counts.

        Raises:
            SetupError: the file of the state is of another import.
            KokeshiError: the server refused the whole, or is gone; run it again to go on.
        """
        most = Portion.of(self.client.info().limits)
        info = self.client.describe_collection(self.collection)
        self.space = self.space or info.space  # the server takes no vector without one
        is_new = not self.state_file.exists()
        self.state = State.load(self.state_file, self._stream_id(most), info.sequence)
        self.began = self.state.next
        if is_new:
            self.set_aside = _set_aside(self.errors_file)
        with ExitStack() as stack:
            self._errors = stack.enter_context(_opened_at(self.errors_file, self.state))
            stack.callback(self._save)
            self._patiently(most)
        self.state_file.unlink(missing_ok=True)
        if not self.state.failed:
            self.errors_file.unlink(missing_ok=True)
        elif self.set_aside and cmp(self.set_aside, self.errors_file, shallow=False):
            self.set_aside.unlink()  # the same import again, with the same errors
            self.set_aside = None
        return self.state

    def _stream_id(self, most: Portion) -> str:
        how = [self.collection, self.tenant, self.on_conflict, self.space, most.rows]
        with reading():
            content = self.source.content()
        told = orjson.dumps([*how, most.size_bytes, content])
        return blake2b(told, digest_size=STREAM_ID_BYTES).hexdigest()

    def _patiently(self, most: Portion) -> None:
        """Tries again while the server is away or full."""
        failures, wait_s = 0, WAIT_S
        while True:
            before = self.state.next
            try:
                self._send(most)
                return
            except TooLargeError:
                raise
            except (UnavailableError, OverloadedError) as error:
                if self.state.next > before:
                    failures, wait_s = 0, WAIT_S
                failures += 1
                if failures == ATTEMPTS:
                    error.args = (f"{error} ({self._told()}; run this again to go on)",)
                    raise
            time.sleep(wait_s)
            wait_s *= 2

    def _told(self) -> str:
        return f"{self.state.stored + self.state.known} items are stored"

    def _send(self, most: Portion) -> None:
        sent: deque[Batch] = deque()
        made = batches(read_on(self.source, self.state.next), self.state.next, most)
        left: list[Batch] = []

        def offered() -> Iterator[tuple[int, list[NewItem]]]:
            for batch in chain(first, made):
                if batch.items:
                    sent.append(batch)
                    yield batch.offset, batch.items
                else:
                    left.append(batch)

        first = [batch for batch in (next(made, None),) if batch is not None]
        if any(batch.items for batch in first):  # a stream of nothing is an error
            self._settle_all(offered(), sent)
        else:
            left = first
        for batch in left:
            self._settle(batch, Ingested(batch.offset, 0, 0))

    def _settle_all(
        self, offered: Iterator[tuple[int, list[NewItem]]], sent: "deque[Batch]"
    ) -> None:
        is_replacing = self.on_conflict == "replace"
        saved_s = time.monotonic()
        for answer in self.client.ingest(
            self.collection,
            offered,
            stream_id=self.state.stream,
            on_conflict=OnConflict.REPLACE if is_replacing else OnConflict.FAIL,
            space=self.space,
            tenant=self.tenant,
        ):
            self._settle(sent.popleft(), answer)
            if time.monotonic() - saved_s > SAVE_EVERY_S:
                self._save()
                saved_s = time.monotonic()

    def _settle(self, batch: Batch, answer: Ingested) -> None:
        """Counts what came of a batch."""
        for number, bad in batch.bad:
            self._refuse(number, bad.id, bad.code, bad.message)
        for one in answer.errors:
            if self.on_conflict == "skip" and one.code == AlreadyExistsError.code:
                self.state.skipped += 1
            else:
                self._refuse(batch.numbers[one.position], one.id, one.code, one.message)
        if answer.sequence <= self.state.since:  # the answer to an earlier import, told again
            self.state.known += answer.count
        else:
            self.state.stored += answer.count
        self.state.next = batch.end
        self.on_progress(self.state)

    def _refuse(self, number: int, item_id: str, code: str, message: str) -> None:
        line = {"row": number + 1, "id": item_id, "code": code, "message": message}
        self._errors.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        self.state.failed += 1

    def _save(self) -> None:
        self._errors.flush()
        self.state.errors_bytes = self._errors.tell()
        self.state.save(self.state_file)


def _set_aside(path: Path) -> Path | None:
    """Where a file that an earlier import left is kept now; None where there is none."""
    if not path.exists() or not path.stat().st_size:
        return None
    names = (path.with_name(f"{path.stem}.{number}{path.suffix}") for number in count(1))
    return path.rename(next(name for name in names if not name.exists()))


def _opened_at(path: Path, state: State) -> IO[bytes]:
    """The file of errors, without those that came after the state was kept."""
    path.touch()
    file = path.open("r+b")
    file.truncate(state.errors_bytes)
    file.seek(state.errors_bytes)
    return file

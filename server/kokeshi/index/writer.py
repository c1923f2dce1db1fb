"""The one thread that writes: writes that wait together share one commit."""

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

import apsw

from kokeshi.errors import OverloadedError, UnavailableError
from kokeshi.index.crash_points import crash_point
from kokeshi.index.upkeep import Upkeep

logger = logging.getLogger(__name__)

DISK_FULL_RETRY_S: Final = 10.0
QUIET_S: Final = 0.5


@dataclass(frozen=True, eq=False)
class Job:
    """One write.

    Attributes:
        work: runs inside the transaction, returns the outcome; all or nothing of it is kept.
        publish: shows the committed outcome to searches; must not fail.
        rows: size, for the limit of a commit.
        is_fsynced: the commit must reach the disk.
    """

    work: Callable[[], Any]
    publish: Callable[[Any], None]
    rows: int
    is_fsynced: bool
    outcome: Future[Any] = field(default_factory=Future)


class Writer:
    """Runs jobs in one thread over one connection.

    `gate` is held from before a commit until what it changed is published: who holds it sees
    searches and the database agree.

    Args:
        connection: that writes, see `kokeshi.index.schema`.
        queue_jobs: writes that may wait; more are refused.
        group_rows: rows that may share one commit.
        quiet_s: without a write, after which upkeep begins.
        refusal: why nothing may be written; None: it may.
    """

    def __init__(
        self,
        connection: Any,  # noqa: ANN401 - apsw is untyped
        *,
        queue_jobs: int,
        group_rows: int,
        quiet_s: float = QUIET_S,
        refusal: str | None = None,
    ) -> None:
        self.gate = threading.Lock()
        self.commits = 0
        self.writes = 0
        self._connection = connection
        self._upkeep = Upkeep(connection)
        self._group_rows = group_rows
        self._quiet_s = quiet_s
        self._jobs: queue.Queue[Job | None] = queue.Queue(queue_jobs)
        self._closing = threading.Lock()
        self._refusal = refusal
        self._thread = threading.Thread(target=self._run, name="kokeshi-index-writer", daemon=True)
        self._thread.start()

    @property
    def is_writable(self) -> bool:
        """False once the disk has failed a write, until the next start."""
        return self._refusal is None

    def run(self, job: Job) -> Any:  # noqa: ANN401 - whatever the job returns
        """Queues a job and waits until it is committed and published.

        Raises:
            OverloadedError: the queue or the disk is full.
            UnavailableError: the disk failed, or the store is closing.
        """
        self.start(job)
        return job.outcome.result()

    def start(self, job: Job) -> None:
        """Queues a job, whose outcome will tell how it went.

        Raises:
            OverloadedError: the queue is full.
            UnavailableError: the disk failed, or the store is closing.
        """
        with self._closing:
            if self._refusal:
                raise UnavailableError(self._refusal)
            try:
                self._jobs.put_nowait(job)
            except queue.Full as error:
                raise OverloadedError("too many writes are waiting") from error

    def close(self) -> None:
        """Finishes the jobs that wait, then stops."""
        with self._closing:
            self._refusal = self._refusal or "the store is closing"
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_last = False
        while not is_last:
            try:
                first = self._jobs.get(timeout=self._quiet_s if self._has_upkeep else None)
            except queue.Empty:
                self._keep_up(self._upkeep.in_quiet)
                continue
            if first is None:
                return
            group, is_last = self._gather(first)
            self._settle(group)
            self._keep_up(self._upkeep.after_commit)

    @property
    def _has_upkeep(self) -> bool:
        return self._upkeep.is_due and self.is_writable

    def _keep_up(self, work: Callable[[], None]) -> None:
        """Runs upkeep; nobody waits for it, but a disk that fails it has failed."""
        if not self.is_writable:
            return
        try:
            work()
        except (apsw.BusyError, apsw.FullError) as error:
            logger.warning("upkeep of the database waits: %s", error)
            self._upkeep.postpone()
        except Exception as error:
            self._failure(error)

    def _gather(self, first: Job) -> tuple[list[Job], bool]:
        group, rows = [first], first.rows
        while rows < self._group_rows:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                return group, True
            group.append(job)
            rows += job.rows
        return group, False

    def _settle(self, group: list[Job]) -> None:
        outcomes: list[Any]
        try:
            with self.gate:
                outcomes = self._commit(group)
        except Exception as error:
            failure = self._failure(error)
            outcomes = [failure] * len(group)
        for job, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Exception):
                job.outcome.set_exception(outcome)
            else:
                job.outcome.set_result(outcome)

    def _commit(self, group: list[Job]) -> list[Any]:
        level = "FULL" if any(job.is_fsynced for job in group) else "NORMAL"
        self._connection.execute(f"PRAGMA synchronous = {level}")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            outcomes = [self._attempt(job, is_alone=len(group) == 1) for job in group]
            crash_point("writer.before_commit")
            self._connection.execute("COMMIT")
            crash_point("writer.after_commit")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self.commits += 1
        self.writes += len(group)
        for job, outcome in zip(group, outcomes, strict=True):
            if not isinstance(outcome, Exception):
                job.publish(outcome)
        return outcomes

    def _attempt(self, job: Job, *, is_alone: bool) -> Any:  # noqa: ANN401 - whatever the job returns
        # SQLite copies every page that changes after a savepoint: a job that is alone needs none
        if not is_alone:
            self._connection.execute("SAVEPOINT job")
        try:
            outcome = job.work()
        except apsw.Error:
            raise  # it may have ended the transaction: nothing of the group can be kept
        except Exception as refusal:
            self._connection.execute("ROLLBACK; BEGIN" if is_alone else "ROLLBACK TO job")
            outcome = refusal
        if not is_alone:
            self._connection.execute("RELEASE job")
        return outcome

    def _failure(self, error: Exception) -> Exception:
        """What the clients of a group hear when its commit failed."""
        if isinstance(error, apsw.FullError):
            logger.error("a write was refused: the disk is full")
            return OverloadedError("the disk is full", DISK_FULL_RETRY_S)
        if isinstance(error, apsw.BusyError):
            return UnavailableError("another program holds the database")
        logger.error("a commit failed; writes stop until the next start", exc_info=error)
        # After a failed fsync the kernel may drop the data and report success the next time: the
        # log must not be folded and forgotten either, it may be the only copy.
        self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        is_damaged = isinstance(error, apsw.CorruptError | apsw.NotADBError)
        cause = "the database is malformed" if is_damaged else "the disk failed"
        self._refusal = f"writes have stopped: {cause}"
        return UnavailableError(self._refusal)

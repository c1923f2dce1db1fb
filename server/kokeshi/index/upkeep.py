"""What the writing connection does for itself between writes: folds its log, gives space back."""

from typing import Any, Final

import apsw

# Pages of 16 KiB: one checkpoint is a few dozen milliseconds of a disk.
CHECKPOINT_PAGES: Final = 1000
VACUUM_STEP_PAGES: Final = 256
SPARE_SHARE: Final = 0.05  # of the file that may be free: the next rows will want it


class Upkeep:
    """Checkpoints and vacuums of one connection. All calls come from the thread that writes.

    SQLite's own checkpoint at 1,000 pages runs inside a commit, and its client waits for it. Here
    it runs once the clients have their answers. A thread of its own, tried, made ingest a third
    slower and the log ten times as long: a log that is written to all the time never starts anew.

    Args:
        connection: that writes; its automatic checkpoints are turned off.
        checkpoint_pages: of the log, written since the last checkpoint, that ask for one.
        vacuum_step_pages: given back at a time; a write waits for one step at most.
        spare_share: of the file that stays free.
    """

    def __init__(
        self,
        connection: Any,  # noqa: ANN401 - apsw is untyped
        *,
        checkpoint_pages: int = CHECKPOINT_PAGES,
        vacuum_step_pages: int = VACUUM_STEP_PAGES,
        spare_share: float = SPARE_SHARE,
    ) -> None:
        self._connection = connection
        self._checkpoint_pages = checkpoint_pages
        self._vacuum_step_pages = vacuum_step_pages
        self._spare_share = spare_share
        self._log_pages = 0
        self._folded_pages = 0
        self._is_due = True
        connection.set_wal_hook(self._note)

    @property
    def is_due(self) -> bool:
        """True when a quiet moment would be of use."""
        return self._is_due

    def after_commit(self) -> None:
        """Folds the log into the database when it has grown long."""
        self._is_due = True
        if self._log_pages - self._folded_pages >= self._checkpoint_pages:
            self._checkpoint()

    def in_quiet(self) -> None:
        """Gives back a step of free space; folds the log when there is none left to give."""
        if self._give_back():
            return
        if self._log_pages > self._folded_pages:
            self._checkpoint()
        self._is_due = False

    def postpone(self) -> None:
        """Nothing more before the next commit."""
        self._is_due = False

    def _note(self, _connection: object, _database: str, pages: int) -> int:
        if pages <= self._log_pages:  # the log started anew
            self._folded_pages = 0
        self._log_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        # passive: waits for no reader; what a reader still needs stays for the next time
        self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        self._folded_pages = self._log_pages

    def _give_back(self) -> bool:
        free = self._connection.execute("PRAGMA freelist_count").get
        pages = self._connection.execute("PRAGMA page_count").get
        surplus = free - int(pages * self._spare_share)
        if surplus < self._vacuum_step_pages:
            return False
        step = min(surplus, self._vacuum_step_pages)
        self._connection.execute("PRAGMA synchronous = NORMAL")  # nobody waits for it to last
        self._connection.execute(f"PRAGMA incremental_vacuum({step})").fetchall()
        self._connection.execute("PRAGMA synchronous = FULL")
        return True

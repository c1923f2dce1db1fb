"""What belongs to collections but to no store: aliases, calibrations, maps, rotations.

A small SQLite file in the data directory, so that it works over every store. Several threads may
share a `Notes`, and several processes a directory. Every entry has a checksum; one that is damaged
is reported, never served.
"""

import contextlib
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import apsw
import orjson

from kokeshi.errors import (
    AlreadyExistsError,
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
)
from kokeshi.index.notes_file import (
    ALIAS_COLUMNS,
    NOTE_COLUMNS,
    is_whole,
    is_whole_alias,
    open_notes,
    seal,
    told,
)

MAX_NAME_CHARACTERS: Final = 256
MAX_VALUE_BYTES: Final = 64 * 2**20
MAX_ALIASES: Final = 10_000

Rows = list[tuple[Any, ...]]

_ALIAS: Final = re.compile(r"[a-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Note:
    """An entry without its value; `is_damaged` says that its checksum is wrong."""

    collection: str
    kind: str
    name: str
    size_bytes: int
    is_damaged: bool


class Notes:
    """The notes of a data directory.

    Args:
        directory: made when it is not there.

    Raises:
        SetupError: the file cannot be opened, or is of another format.
    """

    def __init__(self, directory: Path) -> None:
        self._lock = threading.Lock()
        self._connection = open_notes(directory)
        self._has_failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file."""
        with self._lock:
            self._connection.close()

    def put(self, collection: str, kind: str, name: str, value: object) -> None:
        """Keeps an entry, on the disk when this returns; replaces one that is there.

        Args:
            collection: that it belongs to.
            kind: of entry.
            name: among those of its kind.
            value: bytes, or anything that JSON holds.

        Raises:
            InvalidRequestError: a name or the value cannot be kept.
        """
        for word in (collection, kind, name):
            _check_name(word)
        is_json = not isinstance(value, bytes)
        data = value if isinstance(value, bytes) else _encoded(value)
        if len(data) > MAX_VALUE_BYTES:
            raise InvalidRequestError(
                f"a note has at most {MAX_VALUE_BYTES} bytes, got {len(data)}"
            )
        crc = seal(collection, kind, name, str(int(is_json)), data)
        with self._writing() as run:
            run(
                "INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?, ?, ?)",
                (collection, kind, name, int(is_json), data, crc),
            )

    def get(self, collection: str, kind: str, name: str) -> Any:  # noqa: ANN401 - any JSON value
        """An entry as it was given, bytes or JSON; None where there is none.

        Raises:
            UnavailableError: it is damaged.
        """
        rows = self._read(
            f"SELECT {NOTE_COLUMNS} FROM notes WHERE collection = ? AND kind = ? AND name = ?",
            (collection, kind, name),
        )
        if not rows:
            return None
        if not is_whole(rows[0]):
            raise UnavailableError(
                f"note {name!r} of kind {kind!r} of collection {collection!r} is damaged"
            )
        *_, is_json, value, _ = rows[0]
        return orjson.loads(value) if is_json else value

    def list(self, collection: str | None = None, kind: str | None = None) -> tuple[Note, ...]:
        """Entries by collection, kind and name, damaged ones too; None is any."""
        rows = self._read(
            f"SELECT {NOTE_COLUMNS} FROM notes"
            " WHERE (?1 IS NULL OR collection = ?1) AND (?2 IS NULL OR kind = ?2)"
            " ORDER BY collection, kind, name",
            (collection, kind),
        )
        return tuple(Note(row[0], row[1], row[2], len(row[4]), not is_whole(row)) for row in rows)

    def delete(self, collection: str, kind: str, name: str) -> bool:
        """Removes an entry; false where there was none."""
        with self._writing() as run:
            run(
                "DELETE FROM notes WHERE collection = ? AND kind = ? AND name = ?",
                (collection, kind, name),
            )
            return bool(self._connection.changes())

    def forget(self, collection: str) -> None:
        """Removes all that belongs to a collection, its aliases too."""
        with self._writing() as run:
            run("DELETE FROM notes WHERE collection = ?", (collection,))
            run("DELETE FROM aliases WHERE collection = ?", (collection,))

    def set_aliases(self, aliases: Mapping[str, str]) -> None:
        """Points names at collections, all of them at once or none; those that exist move.

        Raises:
            InvalidRequestError: a name cannot be an alias.
            AlreadyExistsError: too many aliases exist.
        """
        for name in aliases:
            if not _ALIAS.fullmatch(name):
                raise InvalidRequestError(
                    f"an alias is 1 to 64 of a-z, 0-9, _ and -, got {name!r:.80}"
                )
        with self._writing() as run:
            for name, collection in aliases.items():
                run(
                    "INSERT OR REPLACE INTO aliases VALUES (?, ?, ?)",
                    (name, collection, seal(name, collection)),
                )
            (count,) = run("SELECT count(*) FROM aliases", ()).fetchone()
            if count > MAX_ALIASES:
                raise AlreadyExistsError(f"there may be {MAX_ALIASES} aliases, and no more")

    def aliases(self, collection: str | None = None) -> dict[str, str]:
        """Collections by alias, in the order of the aliases; None is of all collections.

        Raises:
            UnavailableError: one is damaged.
        """
        rows = self._read(
            f"SELECT {ALIAS_COLUMNS} FROM aliases"
            " WHERE ?1 IS NULL OR collection = ?1 ORDER BY name",
            (collection,),
        )
        return dict(_checked_alias(row) for row in rows)

    def resolve(self, name: str) -> str | None:
        """The collection that an alias stands for; None where there is no such alias.

        Raises:
            UnavailableError: the alias is damaged.
        """
        rows = self._read(f"SELECT {ALIAS_COLUMNS} FROM aliases WHERE name = ?", (name,))
        return _checked_alias(rows[0])[1] if rows else None

    def delete_alias(self, name: str) -> None:
        """Removes an alias, a damaged one too.

        Raises:
            NotFoundError: there is none.
        """
        with self._writing() as run:
            run("DELETE FROM aliases WHERE name = ?", (name,))
            if not self._connection.changes():
                raise NotFoundError(f"no alias {name!r:.80}")

    def _read(self, statement: str, values: tuple[Any, ...]) -> Rows:
        with self._lock, told():
            rows: Rows = self._connection.execute(statement, values).fetchall()
            return rows

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Any]:
        """A transaction that takes the write lock at once; on the disk when it ends."""
        with self._lock, told():
            if self._has_failed:
                raise UnavailableError("writes of notes have stopped: the disk failed")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
                self._connection.execute("COMMIT")
            except BaseException as error:
                # after a failed fsync the kernel may drop the data and report success next time
                self._has_failed = isinstance(error, apsw.IOError)
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


def _check_name(word: str) -> None:
    if len(word) > MAX_NAME_CHARACTERS:
        raise InvalidRequestError(
            f"a note's name is at most {MAX_NAME_CHARACTERS} characters, got {len(word)}"
        )


def _encoded(value: object) -> bytes:
    try:
        data = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError as error:
        raise InvalidRequestError(f"a note is bytes or JSON: {error}") from error
    return data


def _checked_alias(row: tuple[Any, ...]) -> tuple[str, str]:
    name, collection, _ = row
    if not is_whole_alias(row):
        raise UnavailableError(f"alias {name!r} is damaged: set it again, or delete it")
    return name, collection

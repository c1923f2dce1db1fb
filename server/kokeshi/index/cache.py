"""Index files: derived from the database, checksummed, rebuilt when in the slightest doubt.

    indexes/<collection number>/manifest.json     names the files below: sizes, SHA-256, contents
                                <token>.segment   a sealed segment: vectors, rows, scales, codes,
                                                  columns of metadata, one after the other
                                <token>.form      an index over the first segments

A file is written under a new name, fsynced, and named by a manifest that is renamed into place; so
there is always one whole set, the old or the new. Nothing of a file is used, and no reader of
FAISS's sees it, before its checksum was found right.
"""

import contextlib
import hashlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson

from kokeshi.index import forms
from kokeshi.index.crash_points import crash_point
from kokeshi.index.forms import Form
from kokeshi.index.geometry import Geometry
from kokeshi.index.kernels import POOL
from kokeshi.index.lock import fsync_directory
from kokeshi.index.segment_file import Entry, mapped_block, read_segment, write_segment
from kokeshi.index.segments import Segment
from kokeshi.index.spec import CollectionSpec
from kokeshi.index.tuning import Tuning

logger = logging.getLogger(__name__)

CACHE_FORMAT: Final = 2
INDEXES: Final = "indexes"
MANIFEST: Final = "manifest.json"


class RejectedCacheError(Exception):
    """Index files cannot be trusted."""


@dataclass(frozen=True)
class Lost:
    """A segment whose file cannot be trusted: its rows must come from the database again.

    Attributes:
        first: number of its first row.
        last: number of its last row.
        rows: how many it had.
        seq: see `Segment.seq`.
    """

    first: int
    last: int
    rows: int
    seq: int


@dataclass(frozen=True, eq=False)
class Opened:
    """What the files of a collection hold.

    Attributes:
        segments: in order.
        form: an index over the first rows of them; None: there is none that can be trusted.
        form_seq: the last write that it covers.
        rejected: files that cannot be trusted.
    """

    segments: tuple[Segment | Lost, ...]
    form: Form | None
    form_seq: int
    rejected: int


class Cache:
    """The index files of one collection. One thread at a time reads or writes them."""

    def __init__(self, directory: Path, number: int, spec: CollectionSpec) -> None:
        self._directory = directory / INDEXES / str(number)
        self._geometry = Geometry.of(spec)
        # a whole specification, so that no file of a former collection can pass for this one's
        self._spec = hashlib.sha256(
            orjson.dumps([number, asdict(spec)], option=orjson.OPT_SORT_KEYS)
        ).hexdigest()
        self._entries: dict[str, Entry] = {}
        self._form = ""

    def write(self, segment: Segment) -> Segment:
        """Writes a sealed segment; the same with its vectors mapped from the file.

        The file counts once `publish` has named it.

        Raises:
            OSError: the disk refused.
        """
        token = self._new_token()
        path = self._segment_path(token)
        with _removed_if_broken(path):
            entry = write_segment(path, segment)
        self._entries[token] = entry
        return replace(segment, block=mapped_block(path, entry, segment.block), token=token)

    def write_form(self, form: Form, seq: int) -> None:
        """Writes an index over rows up to a write; it counts once `publish` has named it.

        Raises:
            OSError: the disk refused.
            RuntimeError: FAISS could not write.
        """
        token = self._new_token()
        path = self._form_path(token)
        with _removed_if_broken(path):
            forms.write(form, path)
            crash_point("cache.form_before_fsync")
            with path.open("rb") as file:
                os.fsync(file.fileno())
        self._entries[token] = {**_measured(path), "seq": seq}
        self._form = token

    def drop_form(self) -> None:
        """The next `publish` names no index."""
        self._form = ""

    def publish(self, segments: Sequence[Segment]) -> None:
        """Names the files that the next start opens, durably, and sweeps all others.

        Args:
            segments: all sealed segments that have files, from the first on.

        Raises:
            OSError: the disk refused; what was named before still is.
        """
        tokens = [segment.token for segment in segments]
        form = {"token": self._form, **self._entries[self._form]} if self._form else None
        body = {
            "format": CACHE_FORMAT,
            "spec": self._spec,
            "segments": [{"token": token, **self._entries[token]} for token in tokens],
            "form": form,
        }
        self._write_manifest(body)
        crash_point("cache.before_sweep")
        self._entries = {token: self._entries[token] for token in (*tokens, self._form) if token}
        self._sweep()

    def read(self, upto_seq: int, tuning: Tuning) -> Opened | None:
        """What can be trusted of the files, or None when there are none.

        Args:
            upto_seq: the last write in the database; files that are ahead of it were written
                before a power loss took the newest writes.
            tuning: see `forms.read`.

        Raises:
            RejectedCacheError: none of them can be trusted.
        """
        if not (self._directory / MANIFEST).exists():
            return None
        try:
            body = self._read_manifest()
            self._check(body, upto_seq)
            return self._opened(body, tuning)
        except RejectedCacheError:
            raise
        except Exception as error:  # a damaged file may fail in any way
            raise RejectedCacheError(f"unreadable: {error}") from error

    def remove(self) -> None:
        """Deletes the files, durably: they must not come back."""
        self._entries, self._form = {}, ""
        if self._directory.exists():
            shutil.rmtree(self._directory)
            fsync_directory(self._directory.parent)

    def _new_token(self) -> str:
        self._directory.mkdir(parents=True, exist_ok=True)
        return secrets.token_hex(8)

    def _segment_path(self, token: str) -> Path:
        return self._directory / f"{token}.segment"

    def _form_path(self, token: str) -> Path:
        return self._directory / f"{token}.form"

    def _write_manifest(self, body: dict[str, Any]) -> None:
        encoded = orjson.dumps(body)
        seal = hashlib.sha256(encoded).hexdigest().encode()
        aside = self._directory / f"{MANIFEST}.new"
        with aside.open("wb") as file:
            file.write(seal + b"\n" + encoded)
            file.flush()
            os.fsync(file.fileno())
        fsync_directory(self._directory)  # the files that the manifest names
        crash_point("cache.before_rename")
        aside.rename(self._directory / MANIFEST)
        crash_point("cache.after_rename")
        fsync_directory(self._directory)
        fsync_directory(self._directory.parent)

    def _sweep(self) -> None:
        """Removes what the manifest does not name; a file that is mapped lives on unnamed."""
        for path in self._directory.iterdir():
            if path.name != MANIFEST and path.stem not in self._entries:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _read_manifest(self) -> dict[str, Any]:
        seal, _, encoded = (self._directory / MANIFEST).read_bytes().partition(b"\n")
        if hashlib.sha256(encoded).hexdigest().encode() != seal:
            raise RejectedCacheError("the checksum of the manifest does not match")
        body: dict[str, Any] = orjson.loads(encoded)
        return body

    def _check(self, body: dict[str, Any], upto_seq: int) -> None:
        if body.get("format") != CACHE_FORMAT or body["spec"] != self._spec:
            raise RejectedCacheError("of another format or collection")
        if any(entry["seq"] > upto_seq for entry in body["segments"]):
            raise RejectedCacheError("ahead of the database")

    def _opened(self, body: dict[str, Any], tuning: Tuning) -> Opened:
        named = body["segments"]
        # nearly all the time of a start: hashing lets go of the interpreter
        damages = POOL.map(self._damage_of, named)
        segments = tuple(
            self._segment(one, damage) for one, damage in zip(named, damages, strict=True)
        )
        rejected = sum(isinstance(segment, Lost) for segment in segments)
        form, seq = None, 0
        if body["form"] is not None:
            form, seq = self._read_form(body["form"], tuning), body["form"]["seq"]
            rejected += form is None
        return Opened(segments, form, seq, rejected)

    def _damage_of(self, named: dict[str, Any]) -> Exception | None:
        """What is wrong with a segment's file."""
        token, entry = _split(named)
        try:
            _verify(self._segment_path(token), entry)
        except Exception as error:  # a damaged file may fail in any way
            return error
        return None

    def _segment(self, named: dict[str, Any], damage: Exception | None) -> Segment | Lost:
        token, entry = _split(named)
        try:
            if damage is not None:
                raise damage
            segment = read_segment(self._segment_path(token), entry, self._geometry)
        except Exception as error:  # a damaged file may fail in any way
            logger.warning("an index file is made again: %s", error)
            return Lost(entry["first"], entry["last"], entry["rows"], entry["seq"])
        self._entries[token] = entry
        return segment

    def _read_form(self, named: dict[str, Any], tuning: Tuning) -> Form | None:
        token, entry = _split(named)
        path = self._form_path(token)
        try:
            _verify(path, entry)
            form = forms.read(path, self._geometry, tuning)
        except Exception as error:  # a damaged file may fail in any way
            logger.warning("an index is built again: %s", error)
            return None
        self._entries[token] = entry
        self._form = token
        return form


@contextlib.contextmanager
def _removed_if_broken(path: Path) -> Iterator[None]:
    """Gives back the space of a file that could not be finished."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise


def _split(named: dict[str, Any]) -> tuple[str, Entry]:
    return named["token"], {key: value for key, value in named.items() if key != "token"}


def _verify(path: Path, entry: Entry) -> None:
    measured = _measured(path)
    if any(entry[key] != value for key, value in measured.items()):
        raise RejectedCacheError(f"the checksum of {path.suffix} does not match")


def _measured(path: Path) -> Entry:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": sha256}

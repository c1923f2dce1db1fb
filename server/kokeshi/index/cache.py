"""Index files: derived from the database, checksummed, rebuilt when in the slightest doubt.

    indexes/<collection number>/manifest.json     names the files below, their sizes and SHA-256
                                <token>.rows      int64 row numbers
                                <token>.scales    float32 prefix norms
                                <token>.flat      FAISS IndexFlat   } one of them, or both where the
                                <token>.graph     FAISS IndexHNSW   } graph spans a prefix only

Files are written under new names, fsynced, and named by a manifest that is renamed into place;
so there is always one whole set, the old or the new. FAISS's own readers see a file only after
its checksum was found right.
"""

import contextlib
import hashlib
import logging
import os
import secrets
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from kokeshi.index.faiss_index import Base, load_faiss, opened
from kokeshi.index.geometry import Block, Geometry
from kokeshi.index.lock import fsync_directory
from kokeshi.index.store import CollectionSpec

logger = logging.getLogger(__name__)

CACHE_FORMAT: Final = 1
INDEXES: Final = "indexes"
_MANIFEST: Final = "manifest.json"


class RejectedCacheError(Exception):
    """An index file cannot be trusted."""


class Cache:
    """The index files of one collection."""

    def __init__(self, directory: Path, number: int, spec: CollectionSpec) -> None:
        self._directory = directory / INDEXES / str(number)
        self._geometry = Geometry.of(spec)
        # a whole specification, so that no file of a former collection can pass for this one's
        self._spec = hashlib.sha256(
            orjson.dumps([number, asdict(spec)], option=orjson.OPT_SORT_KEYS)
        ).hexdigest()

    def write(self, base: Base) -> None:
        """Replaces the files by those of `base`.

        Raises:
            OSError: the disk refused; the old files still stand.
            RuntimeError: FAISS could not write.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        names = self._write_files(base, secrets.token_hex(4))
        files = {name: _described(self._directory / name) for name in names}
        body = {"format": CACHE_FORMAT, "spec": self._spec, "seq": base.seq, "files": files}
        self._write_manifest(body)
        self._sweep(keep={_MANIFEST, *names})

    def read(self, upto_seq: int) -> Base | None:
        """The index in the files, or None when there is none.

        Args:
            upto_seq: the last write in the database; an index that is ahead of it was written
                before a power loss took the newest writes.

        Raises:
            RejectedCacheError: the files cannot be trusted.
        """
        if not (self._directory / _MANIFEST).exists():
            return None
        try:
            return self._read(upto_seq)
        except RejectedCacheError:
            raise
        except Exception as error:  # a damaged file may fail in any way
            raise RejectedCacheError(f"unreadable: {error}") from error

    def remove(self) -> None:
        """Deletes the files, durably: they must not come back."""
        if self._directory.exists():
            shutil.rmtree(self._directory)
            fsync_directory(self._directory.parent)

    def _write_files(self, base: Base, token: str) -> list[str]:
        faiss = load_faiss()
        arrays = {"rows": base.block.rows.tobytes(), "scales": base.block.scales.tobytes()}
        for ending, content in arrays.items():
            (self._directory / f"{token}.{ending}").write_bytes(content)
        indexes = {}
        if base.graph is None or base.graph_dimension != self._geometry.dim:
            indexes["flat"] = base.flat
        if base.graph is not None:
            indexes["graph"] = base.graph
        for ending, index in indexes.items():
            faiss.write_index(index, str(self._directory / f"{token}.{ending}"))
        return [f"{token}.{ending}" for ending in (*arrays, *indexes)]

    def _write_manifest(self, body: dict[str, Any]) -> None:
        encoded = orjson.dumps(body)
        seal = hashlib.sha256(encoded).hexdigest().encode()
        aside = self._directory / f"{_MANIFEST}.new"
        with aside.open("wb") as file:
            file.write(seal + b"\n" + encoded)
            file.flush()
            os.fsync(file.fileno())
        fsync_directory(self._directory)  # the files that the manifest names
        aside.rename(self._directory / _MANIFEST)
        fsync_directory(self._directory)
        fsync_directory(self._directory.parent)

    def _sweep(self, keep: set[str]) -> None:
        for path in self._directory.iterdir():
            if path.name not in keep:
                with contextlib.suppress(OSError):
                    path.unlink()

    def _read(self, upto_seq: int) -> Base:
        body = self._read_manifest()
        if body["format"] != CACHE_FORMAT or body["spec"] != self._spec:
            raise RejectedCacheError("of another format or collection")
        if body["seq"] > upto_seq:
            raise RejectedCacheError("ahead of the database")
        paths = {}
        for name, expected in body["files"].items():
            path = self._directory / name
            if _measured(path) != expected:
                raise RejectedCacheError(f"the checksum of {path.suffix} does not match")
            paths[path.suffix[1:]] = path
        return self._load(paths, body["seq"])

    def _read_manifest(self) -> dict[str, Any]:
        seal, _, encoded = (self._directory / _MANIFEST).read_bytes().partition(b"\n")
        if hashlib.sha256(encoded).hexdigest().encode() != seal:
            raise RejectedCacheError("the checksum of the manifest does not match")
        body: dict[str, Any] = orjson.loads(encoded)
        return body

    def _load(self, paths: dict[str, Path], seq: int) -> Base:
        faiss = load_faiss()
        rows = np.fromfile(paths["rows"], np.int64)
        scales = np.fromfile(paths["scales"], np.float32).reshape(-1, len(rows))
        indexes = {
            ending: faiss.read_index(str(path))
            for ending, path in paths.items()
            if ending in {"flat", "graph"}
        }
        placeholder = Block(rows, np.empty((0, self._geometry.dim), np.float32), scales)
        return opened(self._geometry, placeholder, indexes.get("flat"), indexes.get("graph"), seq)


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return _measured(path)


def _measured(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": sha256}

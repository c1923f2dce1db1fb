"""What was fetched of a collection so far: kept beside the file to be, until that is whole."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import orjson
from numpy.typing import NDArray

from kokeshi.errors import SetupError
from kokeshi.service.types import StoredItem

CHUNK_ROWS: Final = 4096
_VALUE_BYTES: Final = 4


@dataclass
class Progress:
    """How much of the files counts.

    Attributes:
        question: what is fetched; files of another question are not gone on with.
        cursor: of the next page; None after the last.
    """

    question: dict[str, Any]
    rows: int = 0
    cursor: str | None = ""
    vector_bytes: int = 0
    line_bytes: int = 0


class Spool:
    """A folder of raw vectors, of lines with ids and metadata, and of how much of them counts.

    Args:
        folder: made if need be; taken up where it is of the same question.
        question: what is fetched.
        dim: of the vectors.

    Raises:
        SetupError: the folder is of another question.
    """

    def __init__(self, folder: Path, question: dict[str, Any], dim: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._dim = dim
        self.progress = self._taken_up(question)
        self._vectors = _opened_at(folder / "vectors.f32", self.progress.vector_bytes)
        self._lines = _opened_at(folder / "rows.jsonl", self.progress.line_bytes)

    def _taken_up(self, question: dict[str, Any]) -> Progress:
        try:
            found = Progress(**orjson.loads((self._folder / "state.json").read_bytes()))
        except FileNotFoundError:
            return Progress(question)
        except (TypeError, orjson.JSONDecodeError):
            found = Progress({})
        if found.question != question:
            raise SetupError(f"{self._folder} is of another export: remove it to begin again")
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._vectors.close()
        self._lines.close()

    def add(self, items: Sequence[StoredItem], cursor: str | None) -> None:
        """Keeps a page; it counts when it is on disk."""
        for item in items:
            if item.vector is None or item.vector.shape != (self._dim,):
                raise SetupError(f"item {item.id!r} came without its vector")
            self._vectors.write(item.vector.astype("<f4", copy=False).tobytes())
            line = {"id": item.id, "metadata": item.metadata}
            self._lines.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        for file in (self._vectors, self._lines):
            file.flush()
            os.fsync(file.fileno())
        self.progress.rows += len(items)
        self.progress.cursor = cursor
        self.progress.vector_bytes = self._vectors.tell()
        self.progress.line_bytes = self._lines.tell()
        aside = self._folder / "state.json.new"
        aside.write_bytes(orjson.dumps(asdict(self.progress)))
        aside.replace(self._folder / "state.json")

    def chunks(self) -> Iterator[tuple[list[bytes], NDArray[np.float32]]]:
        """All rows: lines {"id", "metadata"}, each with its end, and vectors float32 (n, dim)."""
        row_bytes = self._dim * _VALUE_BYTES
        with (
            (self._folder / "rows.jsonl").open("rb") as lines,
            (self._folder / "vectors.f32").open("rb") as vectors,
        ):
            left = self.progress.rows
            while left:
                count = min(left, CHUNK_ROWS)
                some = [lines.readline() for _ in range(count)]
                values = np.frombuffer(vectors.read(count * row_bytes), "<f4")
                yield some, values.reshape(count, self._dim)
                left -= count

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self._folder)


def _opened_at(path: Path, size_bytes: int) -> Any:  # noqa: ANN401 - a buffered file that can be read too
    """A file to write on to, without what came after it last counted."""
    path.touch()
    file = path.open("r+b")
    file.truncate(size_bytes)
    file.seek(size_bytes)
    return file

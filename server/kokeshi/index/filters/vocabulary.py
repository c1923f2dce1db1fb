"""Distinct texts in the order of code points, held as bytes rather than as objects.

The number of a text is its rank, so that equality, a range and a prefix are each one interval of
numbers: a column of numbers answers all three by one comparison.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

# Looking for one text by halves takes about as long as unpacking so many of the vocabulary.
SEARCH_COST: Final = 64


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Texts, ascending, none twice.

    Attributes:
        blob: (bytes,) uint8, the texts one after another in UTF-8, whose bytes sort as its code
            points do.
        ends: (texts + 1,) uint32 or int64, where each begins, and where the last one ends.
    """

    blob: npt.NDArray[np.uint8]
    ends: npt.NDArray[Any]

    def __len__(self) -> int:
        return len(self.ends) - 1

    @classmethod
    def of(cls, texts: Sequence[bytes]) -> Self:
        """From texts that ascend in UTF-8."""
        ends: npt.NDArray[Any] = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=ends[1:])
        if ends[-1] <= np.iinfo(np.uint32).max:
            ends = ends.astype(np.uint32)
        return cls(np.frombuffer(b"".join(texts), np.uint8), ends)

    @property
    def memory_bytes(self) -> int:
        """Size in memory."""
        return self.blob.nbytes + self.ends.nbytes

    def at(self, rank: int) -> bytes:
        """One text in UTF-8."""
        return self.blob[self.ends[rank] : self.ends[rank + 1]].tobytes()

    def texts(self) -> list[bytes]:
        """All of them in UTF-8, ascending."""
        blob, ends = self.blob.tobytes(), self.ends.tolist()
        return [blob[ends[i] : ends[i + 1]] for i in range(len(self))]

    def find(self, text: str) -> tuple[int, int]:
        """Ranks [first, past) of a text; an empty interval where it is not here."""
        wanted = text.encode()
        first = self._first(wanted)
        return first, first + (first < len(self) and self.at(first) == wanted)

    def find_all(self, texts: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Which of the ranks (len(self),) are one of these texts."""
        wanted = np.zeros(len(self), np.bool_)
        if len(texts) * SEARCH_COST > len(self):
            encoded = {text.encode() for text in texts}
            return np.fromiter(map(encoded.__contains__, self.texts()), np.bool_, len(self))
        for first, past in map(self.find, texts):
            wanted[first:past] = True
        return wanted

    def between(
        self, above: str | None, least: str | None, most: str | None, below: str | None
    ) -> tuple[int, int]:
        """Ranks [first, past) within bounds; see `grammar.Range`."""
        first, past = 0, len(self)
        if least is not None:
            first = max(first, self._first(least.encode()))
        if above is not None:
            first = max(first, self._past(above.encode()))
        if below is not None:
            past = min(past, self._first(below.encode()))
        if most is not None:
            past = min(past, self._past(most.encode()))
        return first, max(first, past)

    def beginning(self, prefix: str) -> tuple[int, int]:
        """Ranks [first, past) of the texts that begin so."""
        wanted = prefix.encode()
        size = len(wanted)
        past = bisect_right(range(len(self)), wanted, key=lambda rank: self.at(rank)[:size])
        return self._first(wanted), past

    def part(self, ranks: npt.NDArray[Any]) -> "Vocabulary":
        """Only the texts of these ranks, which ascend."""
        return Vocabulary.of([self.at(rank) for rank in ranks.tolist()])

    def is_same(self, other: "Vocabulary") -> bool:
        """True where both hold the same texts."""
        return (
            len(self.ends) == len(other.ends)
            and np.array_equal(self.ends, other.ends)
            and np.array_equal(self.blob, other.blob)
        )

    def _first(self, wanted: bytes) -> int:
        return bisect_left(range(len(self)), wanted, key=self.at)

    def _past(self, wanted: bytes) -> int:
        return bisect_right(range(len(self)), wanted, key=self.at)


def code_type(size: int) -> type[np.unsignedinteger[Any]]:
    """The smallest type that numbers so many texts from 1; 0 is for a row without one."""
    for candidate in (np.uint8, np.uint16):
        if size <= np.iinfo(candidate).max:
            return candidate
    return np.uint32


def encode(texts: Sequence[str]) -> tuple[npt.NDArray[Any], Vocabulary]:
    """Codes (n,) of texts, which are ranks + 1, and their vocabulary."""
    distinct = sorted(set(texts))
    code_of = {text: code for code, text in enumerate(distinct, 1)}
    kind = code_type(len(distinct))
    codes = np.fromiter(map(code_of.__getitem__, texts), kind, len(texts))
    return codes, Vocabulary.of([text.encode() for text in distinct])


def merge(
    vocabularies: Sequence[Vocabulary],
) -> tuple[list[npt.NDArray[Any] | None], Vocabulary]:
    """One vocabulary of several, and for each of them new codes by old ones, None: as they were."""
    first = vocabularies[0]
    if all(other is first or first.is_same(other) for other in vocabularies[1:]):
        return [None] * len(vocabularies), first
    lists = [vocabulary.texts() for vocabulary in vocabularies]
    # runs that ascend already: this sort merges them in linear time
    merged = _without_repeats(sorted(text for texts in lists for text in texts))
    code_of = {text: code for code, text in enumerate(merged, 1)}
    kind = code_type(len(merged))
    maps: list[npt.NDArray[Any] | None] = []
    for texts in lists:
        codes = np.zeros(len(texts) + 1, kind)
        codes[1:] = np.fromiter(map(code_of.__getitem__, texts), kind, len(texts))
        maps.append(codes)
    return maps, Vocabulary.of(merged)


def _without_repeats(ascending: Iterable[bytes]) -> list[bytes]:
    return list(dict.fromkeys(ascending))

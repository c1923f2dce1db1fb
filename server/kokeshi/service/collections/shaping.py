"""Hits made into what was asked for: without some ids, folded, grouped."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kokeshi import index
from kokeshi.service.search_types import Group, Hit

Value = str | int | float | bool
SMALLEST_NORM: Final = 1e-30


def told(hit: index.Hit, *, with_vectors: bool = True, collapsed_ids: Sequence[str] = ()) -> Hit:
    """A hit of the store as the service tells of it."""
    vector = hit.vector if with_vectors else None
    return Hit(hit.id, hit.score, hit.metadata, vector, collapsed_ids)


def without(hits: Sequence[index.Hit], ids: frozenset[str]) -> Sequence[index.Hit]:
    """Hits that are none of these items."""
    return [hit for hit in hits if hit.id not in ids] if ids else hits


@dataclass(eq=False)
class _Kept:
    hit: index.Hit
    folded: list[str] = field(default_factory=list)


def collapsed(hits: Sequence[index.Hit], least: float, k: int, *, with_vectors: bool) -> list[Hit]:
    """The k best hits of which no two are as alike as `least`, with the ids of the others.

    A hit is folded into the best one that it is like; what comes after the k-th is not looked at
    unless it is folded.

    Args:
        hits: best first, with vectors.
        least: cosine of near-duplicates, -1 to 1.
        k: most that are kept.
        with_vectors: whether vectors are told.
    """
    kept: list[_Kept] = []
    directions: list[NDArray[np.float64]] = []
    for hit in hits:
        direction = _direction(hit.vector)
        alike = np.array(directions) @ direction if directions else np.empty(0)
        if len(alike) and alike.max() >= least:
            kept[int(np.argmax(alike >= least))].folded.append(hit.id)
        elif len(kept) < k:
            kept.append(_Kept(hit))
            directions.append(direction)
    return [
        told(each.hit, with_vectors=with_vectors, collapsed_ids=tuple(each.folded)) for each in kept
    ]


def _direction(vector: NDArray[np.float32] | None) -> NDArray[np.float64]:
    assert vector is not None  # asked for
    doubles = vector.astype(np.float64)
    unit: NDArray[np.float64] = doubles / max(float(np.linalg.norm(doubles)), SMALLEST_NORM)
    return unit


def values_of(metadata: Mapping[str, Any], path: str) -> Iterator[Value]:
    """The texts, numbers and truth values at a path; of a list, each that is one."""
    there: Any = metadata
    for key in path.split("."):
        if not isinstance(there, Mapping) or key not in there:
            return
        there = there[key]
    for value in there if isinstance(there, list) else [there]:
        if isinstance(value, str | int | float):  # a bool is an int
            yield value


class Groups:
    """Groups of one query as they fill.

    Args:
        path: of the field.
        most: groups.
        size: most hits of each.
    """

    def __init__(self, path: str, most: int, size: int) -> None:
        self._path = path
        self._most = most
        self._size = size
        self._hits: dict[tuple[bool, Value], list[Hit]] = {}

    def add(self, hits: Sequence[index.Hit], *, with_vectors: bool) -> None:
        """Sorts hits in, best first; those that are there already stay once."""
        for hit in hits:
            for value in values_of(hit.metadata, self._path):
                self._put((isinstance(value, bool), value), hit, with_vectors)

    def _put(self, key: tuple[bool, Value], hit: index.Hit, with_vectors: bool) -> None:
        if key not in self._hits and len(self._hits) == self._most:
            return
        group = self._hits.setdefault(key, [])
        if len(group) < self._size and all(each.id != hit.id for each in group):
            group.append(told(hit, with_vectors=with_vectors))

    @property
    def is_full(self) -> bool:
        """Whether there are as many groups as there may be."""
        return len(self._hits) == self._most

    @property
    def filled(self) -> list[Value]:
        """Values of groups that take no more hits."""
        return [value for (_, value), hits in self._hits.items() if len(hits) == self._size]

    @property
    def open(self) -> list[Value]:
        """Values of groups that take more."""
        return [value for (_, value), hits in self._hits.items() if len(hits) < self._size]

    def told(self) -> list[Group]:
        """The groups, the one with the best hit first."""
        return [Group(value, tuple(hits)) for (_, value), hits in self._hits.items()]

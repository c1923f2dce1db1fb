"""Memory that two processes share, with tensors in it."""

import json
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FIRST_BYTES: Final = 1 << 20  # of a new arena: address space, not memory, until it is written to
KEEP_BYTES: Final = 64 << 20  # of an arena; what a larger batch took is given back after it
MAX_LAYOUTS: Final = 256  # that are remembered; shapes of images sent as they are may be endless
_ALIGNMENT_BYTES: Final = 64  # a cache line
_PAGE_BYTES: Final = mmap.PAGESIZE


@dataclass(frozen=True, slots=True)
class Place:
    """Where one tensor lies."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the tensors of one message lie."""

    places: tuple[Place, ...]
    end: int  # the offset behind the last
    encoded: bytes


class Arena:
    """A memory file, mapped by each of two processes that take turns in using it.

    Args:
        fd: of the memory file; it is closed with the arena.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, 0)
        self._sent: dict[Any, Layout] = {}
        self._received: dict[bytes, Layout] = {}

    @staticmethod
    def new() -> "Arena":
        """An arena of its own; the other process gets its `fd`."""
        fd = os.memfd_create("kokeshi")
        os.ftruncate(fd, FIRST_BYTES)
        return Arena(fd)

    def write(self, tensors: Mapping[str, NDArray[Any]], start: int = 0) -> Layout:
        """Copies tensors to the place that begins at an offset, or the next multiple of 64."""
        whole = {name: _bytes_of(it) if it.dtype.hasobject else it for name, it in tensors.items()}
        layout = self._layout(tensors, whole, start)
        if layout.end > len(self._map):
            self._grow(layout.end)
        for place, array in zip(layout.places, whole.values(), strict=True):
            if place.dtype.hasobject:
                self._map[place.offset : place.offset + place.size_bytes] = array.data
            else:
                np.copyto(np.ndarray(place.shape, place.dtype, self._map, place.offset), array)
        return layout

    def _layout(
        self,
        tensors: Mapping[str, NDArray[Any]],
        whole: Mapping[str, NDArray[Any]],
        start: int,
    ) -> Layout:
        key = start, *[(name, it.dtype, it.shape, whole[name].size) for name, it in tensors.items()]
        found = self._sent.get(key)
        if found is None:
            places, end = [], start
            for name, array in tensors.items():
                offset = -(-end // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
                end = offset + max(1, whole[name].nbytes)
                places.append(Place(name, array.dtype, array.shape, offset, whole[name].nbytes))
            found = Layout(tuple(places), end, _encode(places))
            _remember(self._sent, key, found)
        return found

    def layout_of(self, encoded: bytes) -> Layout:
        """What the other process says lies here; its growth is followed."""
        found = self._received.get(encoded)
        if found is None:
            found = _decode(encoded)
            _remember(self._received, encoded, found)
        if found.end > len(self._map):
            self._map = mmap.mmap(self.fd, 0)
        return found

    def read(self, layout: Layout, *, copy: bool) -> dict[str, NDArray[Any]]:
        """Tensors by name: copies, or views that hold until the next message is written."""
        found = {}
        for place in layout.places:
            if place.dtype.hasobject:
                data = self._map[place.offset : place.offset + place.size_bytes]
                found[place.name] = _objects_of(data, place.shape)
            else:
                view = np.ndarray(place.shape, place.dtype, self._map, place.offset)
                found[place.name] = view.copy() if copy else view
        return found

    def shrink(self, end: int) -> None:
        """Gives back the memory of a large message that ended at an offset."""
        if end > KEEP_BYTES:
            self._map.madvise(mmap.MADV_REMOVE, KEEP_BYTES)

    def _grow(self, wanted_bytes: int) -> None:
        """Makes the file larger; a mapping that arrays still lie in goes when they do."""
        size = max(wanted_bytes, 2 * len(self._map))
        os.ftruncate(self.fd, -(-size // _PAGE_BYTES) * _PAGE_BYTES)
        self._map = mmap.mmap(self.fd, 0)

    def close(self) -> None:
        """Gives the memory back, when no array lies in it any more."""
        os.close(self.fd)
        del self._map


def _remember(known: dict[Any, Layout], key: Any, layout: Layout) -> None:  # noqa: ANN401 - any key
    if len(known) >= MAX_LAYOUTS:
        known.clear()
    known[key] = layout


def _encode(places: list[Place]) -> bytes:
    rows = [(it.name, it.dtype.str, it.shape, it.offset, it.size_bytes) for it in places]
    return json.dumps(rows, separators=(",", ":")).encode()


def _decode(encoded: bytes) -> Layout:
    places = tuple(
        Place(name, np.dtype(dtype), tuple(shape), offset, size_bytes)
        for name, dtype, shape, offset, size_bytes in json.loads(encoded)
    )
    end = max((it.offset + max(1, it.size_bytes) for it in places), default=0)
    return Layout(places, end, encoded)


def _bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    """An object array of bytes as one: the lengths, uint32, then the contents."""
    items = array.ravel().tolist()
    lengths = np.fromiter(map(len, items), np.uint32, len(items))
    return np.frombuffer(lengths.tobytes() + b"".join(items), np.uint8)


def _objects_of(data: bytes, shape: tuple[int, ...]) -> NDArray[np.object_]:
    count = int(np.prod(shape))
    ends = np.cumsum(np.frombuffer(data, np.uint32, count), dtype=np.int64) + 4 * count
    starts = [4 * count, *ends[:-1].tolist()]
    found = np.empty(count, np.object_)
    found[:] = [data[start:end] for start, end in zip(starts, ends.tolist(), strict=False)]
    return found.reshape(shape)

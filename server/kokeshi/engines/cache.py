"""Answers kept by content: an equal request to the same graph need not run again."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kokeshi.engines.protocol import Tensors

KEY_BYTES: Final = 32
# What an answer takes beside its values: its key, its dictionary and the head of an array each.
ENTRY_BYTES: Final = 512


class ResponseCache:
    """The answers used last, as many as fit; any thread may call.

    Args:
        max_bytes: of the values kept and of what it takes to keep them.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, tuple[dict[str, NDArray[Any]], int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: bytes) -> dict[str, NDArray[Any]] | None:
        """The outputs kept under a key, which cannot be written to; None where there are none."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
        return dict(entry[0])

    def put(self, key: bytes, outputs: Mapping[str, NDArray[Any]]) -> None:
        """Keeps copies of outputs, in place of those used longest ago where there is no room.

        Outputs larger than the whole cache are not kept.
        """
        size = ENTRY_BYTES + sum(map(_bytes_of, outputs.values()))
        if size > self._max_bytes:
            return
        # The outputs of one request may be a view of a whole batch's, which would stay with them.
        kept = {name: _frozen(values) for name, values in outputs.items()}
        with self._lock:
            old = self._entries.pop(key, None)
            self._bytes += size - (old[1] if old else 0)
            self._entries[key] = kept, size
            while self._bytes > self._max_bytes:
                _, (_, freed) = self._entries.popitem(last=False)
                self._bytes -= freed


def key_of(fingerprint: str, inputs: Tensors, outputs: Sequence[str]) -> bytes:
    """What a request is kept under: equal only where the answer is the same.

    Args:
        fingerprint: of the graph, and of whatever else an answer depends on.
        inputs: by name; an object array holds bytes.
        outputs: wanted, in their order; none means all.
    """
    digest = blake2b(digest_size=KEY_BYTES)
    # Every part is told apart by its length, so that no two requests are one text.
    for text in (fingerprint, *outputs):
        _update(digest, text.encode())
    for name in sorted(inputs):
        values = inputs[name]
        _update(digest, b"")  # ends the outputs: no name is empty
        _update(digest, f"{name}\0{values.dtype.str}\0{values.shape}".encode())
        if values.dtype == object:
            for element in values.ravel():
                _update(digest, element)
        else:
            _update(digest, np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return digest.digest()


def _update(digest: "blake2b", part: bytes | memoryview) -> None:
    digest.update(len(part).to_bytes(8, "little"))
    digest.update(part)


def _bytes_of(values: NDArray[Any]) -> int:
    if values.dtype == object:
        return values.nbytes + sum(map(len, values.ravel()))
    return values.nbytes


def _frozen(values: NDArray[Any]) -> NDArray[Any]:
    copy = values.copy()
    copy.flags.writeable = False
    return copy

"""A request to an engine as the bytes that go with its tensors, and where both ends meet."""

import math
import struct
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from numpy.typing import NDArray

from kokeshi.engines.protocol import Request

INFER: Final = 1  # the one kind of question on a channel
# Sockets in the folder that an engine process and the gateways in front of it share.
INFER_SOCKET: Final = "infer"
CONTROL_SOCKET: Final = "control"

Key = tuple[int, int]  # a gateway, and the number of its request

_HEADER: Final = struct.Struct("<IIddQQI")  # the last: how many outputs are named
_SEPARATOR: Final = "\0"


class Asked(NamedTuple):
    """A request with what else is told of it."""

    request: Request
    trace: Mapping[str, str]
    key: Key  # by which its caller gives it up; number 0: it never will


def pack(request: Request, trace: Mapping[str, str], key: Key) -> bytes:
    """All of a request but its tensors."""
    header = _HEADER.pack(
        request.version,
        request.priority,
        math.nan if request.timeout_s is None else request.timeout_s,
        math.nan if request.queue_timeout_s is None else request.queue_timeout_s,
        *key,
        len(request.outputs),
    )
    words = [request.model, *request.outputs]
    for pair in trace.items():
        words += pair
    return header + _SEPARATOR.join(words).encode()


def unpack(data: bytes, inputs: Mapping[str, NDArray[Any]]) -> Asked:
    """The inverse of `pack`."""
    version, priority, timeout_s, queue_timeout_s, gateway, number, outputs = _HEADER.unpack_from(
        data
    )
    model, *words = data[_HEADER.size :].decode().split(_SEPARATOR)
    told = words[outputs:]
    request = Request(
        model,
        inputs,
        outputs=words[:outputs],
        version=version,
        timeout_s=None if math.isnan(timeout_s) else timeout_s,
        priority=priority,
        queue_timeout_s=None if math.isnan(queue_timeout_s) else queue_timeout_s,
    )
    return Asked(request, dict(zip(told[::2], told[1::2], strict=True)), (gateway, number))

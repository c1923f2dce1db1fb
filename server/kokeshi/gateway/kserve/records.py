"""A request of KServe v2 and its answer, whatever wire they travel on."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from kokeshi.gateway.kserve.parameters import Region


class InferInput(NamedTuple):
    """A tensor that came; of BYTES an object array of bytes."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    array: NDArray[Any]


class WantedOutput(NamedTuple):
    """An output asked for, and how."""

    name: str
    classification: int = 0  # this many of the best classes in words; 0: the values
    region: Region | None = None  # shared memory to write it to
    binary: bool | None = None  # HTTP's parameter `binary_data`; None: not said


class InferCall(NamedTuple):
    """A request."""

    model: str
    version: str  # as it came; "" is the newest
    id: str
    inputs: Sequence[InferInput]
    outputs: Sequence[WantedOutput] = ()  # none means all
    priority: int = 0
    timeout_us: int = 0  # in the queue; 0 is the model's default


class InferOutput(NamedTuple):
    """An output; of BYTES an object array of bytes. Its door writes it to shared memory."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    array: NDArray[Any]
    wanted: WantedOutput  # how it was asked for


class InferAnswer(NamedTuple):
    """An answer; the version is the one that ran."""

    model: str
    version: str
    id: str
    outputs: Sequence[InferOutput]

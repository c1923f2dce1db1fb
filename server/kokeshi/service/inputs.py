"""What a request is about."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Image:
    """An encoded image file."""

    data: bytes


@dataclass(frozen=True)
class Text:
    """A text."""

    text: str


@dataclass(frozen=True)
class Audio:
    """An encoded sound file; no model takes one yet."""

    data: bytes


@dataclass(frozen=True)
class Tensor:
    """Raw values: uint8 (height, width, 3) for a model, float32 (dim,) for a collection."""

    array: NDArray[Any]


Input = Image | Text | Audio | Tensor

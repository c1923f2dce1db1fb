"""What a runtime is: the thing that executes one graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from kokeshi.engines.protocol import Tensors

Progress = Callable[[float], None]  # gets the fraction done, in [0, 1]


@dataclass(frozen=True)
class Value:
    """An input or output of a graph, with its batch axis; -1 is an axis of any length."""

    name: str
    data_type: str  # Triton's: "TYPE_UINT8"
    shape: tuple[int, ...]


class Runtime(Protocol):
    """Executes one graph; `run` may be called from several threads at once."""

    @property
    def inputs(self) -> Sequence[Value]:
        """What the graph takes."""

    @property
    def outputs(self) -> Sequence[Value]:
        """What the graph gives, in its order."""

    @property
    def providers(self) -> Sequence[str]:
        """What executes it, best first: "CUDAExecutionProvider", "OpenVINO CPU BF16"."""

    @property
    def degraded(self) -> str:
        """Why it does not run as configured; empty where it does."""

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Executes the graph.

        Args:
            inputs: every input by name, (n, ...) in its dtype. TYPE_STRING is an object array of
                bytes, TYPE_BF16 is uint16.

        Returns:
            Every output by name, (n, ...), in memory of the caller's own.

        Raises:
            InvalidRequestError: bytes of a TYPE_STRING are not UTF-8, which the runtime needs.
            Exception: whatever the runtime raises when the graph fails.
        """

    def close(self) -> None:
        """Gives its memory back; it does not run again."""

"""What a process that runs one graph is asked, and what it says of the graph."""

from enum import IntEnum
from pathlib import Path

from kokeshi.contract import Record
from kokeshi.engines.config import ModelConfig
from kokeshi.engines.runtimes import Runtime, Value


class Question(IntEnum):
    """Kinds of messages on the channel."""

    OPEN = 0  # an `Opening`; notes say how far it is, and the answer is an `Opened`
    RUN = 1  # inputs, answered by outputs


class Opening(Record):
    """The arguments of `open_runtime`."""

    graph: Path
    config: ModelConfig
    threads: int
    cache_folder: Path | None = None


class Opened(Record):
    """The properties of a `Runtime`."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    providers: tuple[str, ...]
    degraded: str = ""

    @classmethod
    def of(cls, runtime: Runtime) -> "Opened":
        """Those of a runtime."""
        return cls(
            inputs=tuple(runtime.inputs),
            outputs=tuple(runtime.outputs),
            providers=tuple(runtime.providers),
            degraded=runtime.degraded,
        )

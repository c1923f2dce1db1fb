"""One graph on several GPUs: each run goes to the one that has the fewest."""

import threading
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from kokeshi.engines.protocol import Tensors
from kokeshi.engines.runtimes.protocol import Runtime


class SpreadRuntime:
    """See `Runtime`.

    Args:
        runtimes: of the same graph, at least one.
    """

    def __init__(self, runtimes: Sequence[Runtime]) -> None:
        self._runtimes = runtimes
        self._running = [0] * len(runtimes)
        self._lock = threading.Lock()  # guards the counts
        self.inputs = runtimes[0].inputs
        self.outputs = runtimes[0].outputs
        self.providers = runtimes[0].providers
        self.degraded = next((it.degraded for it in runtimes if it.degraded), "")

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """See `Runtime.run`."""
        with self._lock:
            index = min(range(len(self._running)), key=self._running.__getitem__)
            self._running[index] += 1
        try:
            return self._runtimes[index].run(inputs)
        finally:
            with self._lock:
                self._running[index] -= 1

    def close(self) -> None:
        """See `Runtime.close`."""
        for runtime in self._runtimes:
            runtime.close()

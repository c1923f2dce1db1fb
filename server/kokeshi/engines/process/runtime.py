"""A graph in a process of its own: one that crashes takes nothing else with it."""

import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Final

from numpy.typing import NDArray

from kokeshi.engines.config import GRAPH_FILE, ModelConfig
from kokeshi.engines.policy import instances
from kokeshi.engines.process.channel import ClosedError
from kokeshi.engines.process.keeper import Keeper
from kokeshi.engines.process.peer import Peer
from kokeshi.engines.process.questions import Opened, Opening
from kokeshi.engines.protocol import Tensors
from kokeshi.engines.reshape import reshaped
from kokeshi.engines.runtimes import Progress
from kokeshi.engines.warmup import warmup_requests
from kokeshi.errors import UnavailableError

WEDGE_TIMEOUT_S: Final = 60.0


class ProcessRuntime:
    """See `Runtime`, and `kokeshi.engines.version.Restarting`.

    It can be used in place of `open_runtime`, whose arguments it takes.

    Args:
        graph: the ONNX file.
        config: of the model.
        threads: cores that one run may use.
        cache_folder: where built engines are kept.
        progress: gets the fraction done where opening is slow.
        wedge_timeout_s: how long a batch may run before its process is taken for dead.
        python: the interpreter of the process.

    Raises:
        UnavailableError: the process died while it opened the graph.
        Exception: what `open_runtime` raises.
    """

    def __init__(
        self,
        graph: Path,
        config: ModelConfig,
        *,
        threads: int,
        cache_folder: Path | None = None,
        progress: Progress | None = None,
        wedge_timeout_s: float = WEDGE_TIMEOUT_S,
        python: Path = Path(sys.executable),
    ) -> None:
        self._config = config
        self._graph = graph
        self._opening = Opening(
            graph=graph, config=config, threads=threads, cache_folder=cache_folder
        )
        self._progress = progress
        at_once = instances(config)
        self._keeper = Keeper(
            config.name, lambda: Peer(at_once, python), self._prepare, wedge_timeout_s
        )
        opened = self._keeper.opened()
        self._progress = None  # a graph that is opened again tells nobody
        self.inputs, self.outputs = opened.inputs, opened.outputs
        self.providers, self.degraded = opened.providers, opened.degraded

    @property
    def pid(self) -> int:
        """Of the process; 0 while there is none."""
        peer = self._keeper.peer
        return peer.pid if peer else 0

    def run(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """See `Runtime.run`.

        Raises:
            UnavailableError: the process is gone; it is started again, unless it was closed.
        """
        peer = self._keeper.peer
        if peer is None:
            raise UnavailableError(self._keeper.reason)
        return peer.run(inputs)

    def watch(self, fell: Callable[[str], None], rose: Callable[[], None]) -> None:
        """See `Restarting.watch`."""
        self._keeper.tell(fell, rose)

    def close(self) -> None:
        """See `Runtime.close`."""
        self._keeper.close()

    def _prepare(self, peer: Peer, first: bool) -> Opened:
        """Has a process open the graph; only one that is not the first is warmed up here."""
        try:
            opened = peer.open(self._opening, self._progress)
            if not first:
                self._warm_up(peer)
        except ClosedError:
            how = peer.how_it_ended()
            raise UnavailableError(f"{how} while it opened the graph") from None
        return opened

    def _warm_up(self, peer: Peer) -> None:
        inside = PurePosixPath(self._config.default_model_filename or GRAPH_FILE)
        folder = self._graph.parents[len(inside.parts)]
        run = reshaped(self._config, peer.ask)
        for _, count, inputs in warmup_requests(self._config, folder):
            for _ in range(count):
                run(inputs)

"""From a version on disk to one that can run: everything that may take long, on a thread."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from kokeshi.card import Card
from kokeshi.engines.checks import Checks
from kokeshi.engines.completion import check_tensors, completed, needs_graph, whole_pbtxt
from kokeshi.engines.config import BACKEND, ModelConfig, Optimization
from kokeshi.engines.protocol import ModelStatus, State, Tensors
from kokeshi.engines.repository import Entry, graph_digest, scan_model
from kokeshi.engines.reshape import reshaped
from kokeshi.engines.runtimes import Progress, Runtime, this_machine
from kokeshi.engines.runtimes.tuned import choose
from kokeshi.engines.warmup import warmup_requests
from kokeshi.errors import ArtefactError

logger = logging.getLogger(__name__)

Run = Callable[[Tensors], dict[str, NDArray[Any]]]
Report = Callable[[ModelStatus], None]


class OpenRuntime(Protocol):
    """See `kokeshi.engines.runtimes.open_runtime`."""

    def __call__(
        self,
        graph: Path,
        config: ModelConfig,
        *,
        threads: int,
        cache_folder: Path | None = None,
        progress: Progress | None = None,
    ) -> Runtime:
        """Opens a graph."""


class PartMissingError(ArtefactError):
    """A method of several graphs is not whole yet."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A version that runs and was warmed up."""

    entry: Entry  # its configuration is completed, and is the one that is obeyed
    text: str  # of the whole configuration
    card: Card | None
    checks: Checks
    runtime: Runtime
    run: Run
    degraded: str  # why it is not what was configured
    fingerprint: str  # of what answers depend on; empty where answers are not kept


class Loader:
    """Loads versions.

    Args:
        repository: where the other parts of a method of several graphs are.
        threads: cores that one batch may use.
        allow_untrained: load models whose weights are random.
        cached: answers may be kept, so that fingerprints are needed.
        open_runtime: opens a graph.
        cache_folder: for engines that were built for this hardware.
    """

    def __init__(
        self,
        repository: Path,
        *,
        threads: int,
        allow_untrained: bool,
        cached: bool,
        open_runtime: OpenRuntime,
        cache_folder: Path | None,
    ) -> None:
        self._repository = repository
        self._threads = threads
        self._allow_untrained = allow_untrained
        self._cached = cached
        self._open_runtime = open_runtime
        self._cache_folder = cache_folder

    def load(self, entry: Entry, report: Report) -> Loaded:
        """Checks, opens and warms up one version.

        Raises:
            ArtefactError: it is not what its card, its configuration or Triton's rules say.
            Exception: whatever the runtime raises when it cannot open or run the graph.
        """
        _check_backend(entry)
        entry = self._completed(entry)
        card = entry.card() if entry.has_card else None
        status = ModelStatus(entry.name, entry.version, State.LOADING, card=card)
        report(status)
        text, degraded = entry.text, ""
        if card is None:
            entry.check_file()
        else:
            entry, degraded = self._chosen(entry, card)
        checks = Checks(entry.name, entry.config)
        runtime = self._open(entry, status, report)
        try:
            check_tensors(entry.config, runtime.inputs, runtime.outputs)
            run = reshaped(entry.config, runtime.run)
            report(replace(status, state=State.WARMING))
            _warm_up(entry, run)
        except BaseException:
            runtime.close()
            raise
        text = whole_pbtxt(text, entry.config, on_gpu="CPU" not in runtime.providers[0])
        degraded = degraded or runtime.degraded
        fingerprint = self._fingerprint(entry, text, degraded)
        return Loaded(entry, text, card, checks, runtime, run, degraded, fingerprint)

    def _completed(self, entry: Entry) -> Entry:
        if not needs_graph(entry.config):
            return entry
        entry.check_file()
        plain = entry.config.model_copy(update={"optimization": Optimization()})
        runtime = self._open_runtime(entry.graph, plain, threads=1)
        try:
            config = completed(entry.config, runtime.inputs, runtime.outputs)
        finally:
            runtime.close()
        return replace(entry, config=config)

    def _chosen(self, entry: Entry, card: Card) -> tuple[Entry, str]:
        """The version with the graph that is to run on this machine, and why it is another."""
        if not (card.checkpoint.trained or self._allow_untrained):
            raise ArtefactError("untrained weights are for tests; --allow-untrained serves them")
        for part in card.parts.values():
            if not self._present(entry, part):
                raise PartMissingError(f"its part {part!r} of version {card.version} is missing")
        choice = choose(entry.config, card, this_machine())
        entry = replace(entry, config=choice.config)
        entry.check_graph(card)
        entry.check_tokenizer(card)
        return entry, choice.degraded

    def _present(self, entry: Entry, part: str) -> bool:
        """Whether the repository serves the same version of another part."""
        folder = self._repository / Path(part).name
        if part == entry.name or not folder.is_dir():
            return part == entry.name
        found = (one for one in scan_model(folder) if isinstance(one, Entry))
        return any(one.version == entry.version for one in found)

    def _open(self, entry: Entry, status: ModelStatus, report: Report) -> Runtime:
        building = replace(status, state=State.BUILDING)
        return self._open_runtime(
            entry.graph,
            entry.config,
            threads=self._threads,
            cache_folder=self._cache_folder,
            progress=lambda done: report(replace(building, progress=done)),
        )

    def _fingerprint(self, entry: Entry, *told: str) -> str:
        """Of the graph and of everything that says how it is run."""
        if not (self._cached and entry.config.response_cache.enable):
            return ""
        return sha256("\n".join((graph_digest(entry.graph), *told)).encode()).hexdigest()


def _check_backend(entry: Entry) -> None:
    backend = entry.config.backend or BACKEND
    if backend != BACKEND:
        raise ArtefactError(f"it is for the backend {backend!r}; this engine runs {BACKEND!r}")


def _warm_up(entry: Entry, run: Run) -> None:
    for name, count, inputs in warmup_requests(entry.config, entry.folder):
        for _ in range(count):
            try:
                run(inputs)
            except Exception as error:
                logger.exception("warm-up %r of model %s failed", name, entry.name)
                raise ArtefactError(
                    f"its warm-up {name!r} failed; the server's log says why"
                ) from error

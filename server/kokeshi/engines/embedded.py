"""The embedded engine: runs a model repository in this process."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from numpy.typing import NDArray

from kokeshi.card import Card
from kokeshi.engines.board import Board
from kokeshi.engines.cache import ResponseCache
from kokeshi.engines.config import ModelConfig
from kokeshi.engines.control import Control
from kokeshi.engines.entries import call_back
from kokeshi.engines.lifecycle import Lifecycle
from kokeshi.engines.loading import Loader, OpenRuntime
from kokeshi.engines.policy import MAX_QUEUE_REQUESTS
from kokeshi.engines.protocol import Done, ModelStatus, Request, Wanted, Watch
from kokeshi.engines.runtimes import open_runtime as open_any
from kokeshi.engines.statistics import ModelStatistics
from kokeshi.engines.version import Version
from kokeshi.errors import KokeshiError, ModelNotFoundError, UnavailableError, WrongTaskError


class EmbeddedEngine:
    """See `Engine`.

    Args:
        repository: folder of model folders.
        threads: cores that one batch may use.
        allow_untrained: serve models whose weights are random.
        wanted: which models are loaded, and when.
        cache_bytes: memory for answers of the models that ask for it; 0 is no cache.
        drain_timeout_s: how long a version that is unloaded may take to answer what it was asked.
        loads_at_once: versions that are loaded at the same time.
        max_queue_requests: limit of the queues for which a configuration names none; 0: none.
        cache_folder: for engines that were built for this hardware.
        open_runtime: opens a graph.
        path: how tensors reach the graphs that it opens, see `Engine.path`.
    """

    name = "embedded"

    def __init__(
        self,
        repository: Path,
        *,
        threads: int,
        allow_untrained: bool = False,
        wanted: Wanted = Wanted(),  # noqa: B008 - frozen
        cache_bytes: int = 0,
        drain_timeout_s: float = 30.0,
        loads_at_once: int = 4,
        max_queue_requests: int = MAX_QUEUE_REQUESTS,
        cache_folder: Path | None = None,
        open_runtime: OpenRuntime = open_any,
        path: str = "in process",
    ) -> None:
        self._path = path
        loader = Loader(
            repository,
            threads=threads,
            allow_untrained=allow_untrained,
            cached=cache_bytes > 0,
            open_runtime=open_runtime,
            cache_folder=cache_folder,
        )
        self._board = Board()
        self._lifecycle = Lifecycle(
            loader,
            self._board,
            ResponseCache(cache_bytes) if cache_bytes else None,
            drain_timeout_s=drain_timeout_s,
            loads_at_once=loads_at_once,
            max_queue_requests=max_queue_requests,
        )
        self._control = Control(repository, wanted, self._lifecycle, self._board)

    async def start(self) -> None:
        """See `Engine.start`."""
        await self._control.start()

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._control.close()
        await self._lifecycle.close()

    async def load(
        self, model: str, config: str = "", files: Mapping[str, bytes] | None = None
    ) -> None:
        """See `Engine.load`."""
        await self._control.load(model, config, files or {})

    async def unload(self, model: str) -> None:
        """See `Engine.unload`."""
        await self._control.unload(model)

    def providers(self) -> Sequence[str]:
        """See `Engine.providers`."""
        versions = self._lifecycle.table.values()
        used = (name for version in versions for name in version.loaded.runtime.providers)
        return list(dict.fromkeys(used))

    def path(self) -> str:
        """See `Engine.path`."""
        return self._path

    def models(self) -> Sequence[ModelStatus]:
        """See `Engine.models`."""
        return self._board.all()

    def config(self, model: str, version: int = 0) -> ModelConfig:
        """See `Engine.config`."""
        return self._find(model, version).loaded.entry.config

    def pbtxt(self, model: str, version: int = 0) -> str:
        """See `Engine.pbtxt`."""
        return self._find(model, version).loaded.text

    def card(self, model: str, version: int = 0) -> Card:
        """See `Engine.card`."""
        card = self._find(model, version).loaded.card
        if card is None:
            raise WrongTaskError(
                f"model {model!r} has no card: it answers tensors (KServe v2) alone"
            )
        return card

    def max_rows(self, model: str, version: int = 0) -> int:
        """See `Engine.max_rows`."""
        return self._find(model, version).loaded.checks.max_rows

    def file(self, model: str, name: str) -> bytes:
        """See `Engine.file`."""
        folder = self._find(model, 0).loaded.entry.folder
        try:
            return (folder / Path(name).name).read_bytes()
        except OSError as error:
            raise UnavailableError(f"model {model!r} has no file {name!r}") from error

    async def infer(self, request: Request) -> dict[str, NDArray[Any]]:
        """See `Engine.infer`."""
        version = self._find(request.model, request.version)
        while True:
            try:
                return await version.answer(request)
            except UnavailableError as error:
                version = self._successor(request, version, error)

    def infer_now(self, request: Request, watch: Watch | None = None) -> dict[str, NDArray[Any]]:
        """See `Engine.infer_now`."""
        version = self._find(request.model, request.version)
        while True:
            try:
                return version.answer_now(request, watch)
            except UnavailableError as error:
                version = self._successor(request, version, error)

    def infer_soon(self, request: Request, done: Done, watch: Watch | None = None) -> None:
        """See `AnswersSoon.infer_soon`."""
        try:
            version = self._find(request.model, request.version)
        except KokeshiError as error:
            call_back(done, error)
        else:
            self._ask(request, version, done, watch)

    def _ask(self, request: Request, version: Version, done: Done, watch: Watch | None) -> None:
        """Has a version answer; where that is gone, the one that took its place."""

        def told(answer: dict[str, NDArray[Any]] | Exception) -> None:
            if isinstance(answer, UnavailableError):
                try:
                    successor = self._successor(request, version, answer)
                except KokeshiError as error:
                    answer = error
                else:
                    self._ask(request, successor, done, watch)
                    return
            done(answer)

        try:
            version.answer_soon(request, told, watch)
        except Exception as error:
            call_back(told, error)

    async def statistics(self, model: str = "", version: int = 0) -> Sequence[ModelStatistics]:
        """See `Engine.statistics`."""
        if model:
            self._find(model, version)
        return [
            statistics
            for statistics in self.counted()
            if model in {"", statistics.name} and version in {0, statistics.version}
        ]

    def counted(self) -> Sequence[ModelStatistics]:
        """See `Engine.counted`."""
        table = self._lifecycle.table
        return [found.statistics() for (_, version), found in table.items() if version]

    def _find(self, model: str, version: int) -> Version:
        found = self._lifecycle.table.get((model, version))
        return self._refuse(model, version) if found is None else found

    def _refuse(self, model: str, version: int) -> NoReturn:
        known = self._board.of(model)
        told: Sequence[ModelStatus] = [one for one in known if one.version == version]
        if not version or not any(status.version for status in known):
            told = known[-1:]
        if told:
            raise UnavailableError(f"model {model!r} is {_state(told[0])}")
        which = f"model named {model!r}" + (f" with version {version}" if version else "")
        raise ModelNotFoundError(f"no {which}")

    def _successor(self, request: Request, before: Version, error: UnavailableError) -> Version:
        """The version that took the place of one which did not answer, if another did."""
        found = self._find(request.model, request.version)
        if found is before:
            raise error
        return found


def _state(status: ModelStatus) -> str:
    done = "" if status.progress is None else f" ({status.progress:.0%} done)"
    return f"{status.state}{done}" + (f": {status.reason}" if status.reason else "")

"""The engine on a tritonserver that Kokeshi starts."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kokeshi.engines.polling import Changes
from kokeshi.engines.protocol import Wanted
from kokeshi.engines.triton.asking import as_json
from kokeshi.engines.triton.installation import Installation
from kokeshi.engines.triton.local import LocalTriton, nothing_to_do
from kokeshi.engines.triton.remote import TritonEngine
from kokeshi.engines.triton.stub import Limits
from kokeshi.engines.triton.supervisor import Source
from kokeshi.errors import KokeshiError

logger = logging.getLogger(__name__)


class LocalTritonEngine(TritonEngine):
    """See `Engine`.

    Args:
        installation: which tritonserver, see `find_tritonserver`.
        repository: folder of model folders.
        wanted: which models are loaded, and whether the folder is followed.
        threads: cores that one batch may use, where a configuration does not say.
        limits: of the model processes.
        on_restart: is told, on some thread, of every restart: the model and the kind of fall.
        options: of `TritonEngine`.
    """

    def __init__(
        self,
        installation: Installation,
        repository: Path,
        *,
        wanted: Wanted | None = None,
        threads: int = 0,
        limits: Limits | None = None,
        on_restart: Callable[[str, str], None] = nothing_to_do,
        **options: Any,  # noqa: ANN401 - passed on
    ) -> None:
        self._wanted = wanted or Wanted()
        self._repository = repository
        self._local = LocalTriton(
            installation,
            repository,
            wanted=self._wanted,
            threads=threads,
            limits=limits,
            on_change=self.refresh,
            on_restart=on_restart,
        )
        super().__init__(
            [self._local.address], files=repository, fallen=self._local.fallen, **options
        )
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """See `Engine.start`."""
        folders = Changes(self._repository)
        await asyncio.to_thread(folders.begin)
        await self._local.start()
        try:
            await super().start()
        except BaseException:
            await self._local.close()
            raise
        if self._wanted.mode == "poll":
            self._following = asyncio.create_task(self._follow_folders(folders))

    async def close(self) -> None:
        """See `Engine.close`."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        await super().close()
        await self._local.close()

    async def load(
        self, model: str, config: str = "", files: Mapping[str, bytes] | None = None
    ) -> None:
        """See `Engine.load`."""
        before = self._local.expect(
            model, Source(as_json(config) if config else "", dict(files or {}))
        )
        try:
            await super().load(model, config, files)
        except BaseException:
            self._local.expect(model, before)
            raise
        self._local.stands(model)

    async def unload(self, model: str) -> None:
        """See `Engine.unload`."""
        before = self._local.expect(model, None)
        try:
            await super().unload(model)
        except BaseException:
            self._local.expect(model, before)
            raise
        self._local.retire(model)

    async def _follow_folders(self, folders: Changes) -> None:
        while True:
            await asyncio.sleep(self._wanted.poll_s)
            try:
                for model in await asyncio.to_thread(folders.settled):
                    await self._take_over(model)
            except Exception:  # what cannot be read now may be readable later
                logger.exception("the model repository cannot be followed; it is tried again")

    async def _take_over(self, model: str) -> None:
        there = (self._repository / model).is_dir()
        try:
            await (self.load(model) if there else self.unload(model))
        except KokeshiError as error:
            logger.error("model %s could not be brought up to date: %s", model, error)

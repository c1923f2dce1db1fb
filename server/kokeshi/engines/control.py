"""Decides which models are loaded: at the start, as the repository changes, and by request."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from kokeshi.engines.board import Board
from kokeshi.engines.config import from_pbtxt
from kokeshi.engines.lifecycle import Found, Lifecycle
from kokeshi.engines.overrides import Override
from kokeshi.engines.polling import Changes
from kokeshi.engines.protocol import ModelStatus, State, Wanted
from kokeshi.engines.repository import Entry, model_names, scan_model
from kokeshi.errors import (
    ArtefactError,
    InvalidRequestError,
    ModelNotFoundError,
    UnavailableError,
)

logger = logging.getLogger(__name__)

EVERY: Final = "*"  # of `Wanted.models`


class Control:
    """Follows a repository by one of Triton's control modes.

    https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_management.md

    Args:
        repository: folder of model folders.
        wanted: the mode, and what it is told.
        lifecycle: loads and unloads.
        board: shows what is not loaded.
    """

    def __init__(
        self, repository: Path, wanted: Wanted, lifecycle: Lifecycle, board: Board
    ) -> None:
        self._repository = repository
        self._wanted = wanted
        self._lifecycle = lifecycle
        self._board = board
        self._changes = Changes(repository)
        self._following: asyncio.Task[None] | None = None
        self._waiting: set[str] = set()  # for another part of their method

    async def start(self) -> None:
        """Loads what is wanted at the start.

        Raises:
            ArtefactError: the repository is not a folder.
        """
        if not self._repository.is_dir():  # said before anything else is waited for
            raise ArtefactError(f"model repository {str(self._repository)!r} is not a folder")
        names = await asyncio.to_thread(self._changes.begin)
        wanted = self._at_the_start(names)
        self._show_absent(set(names) - wanted)
        await self._update_all(sorted(wanted))
        if self._wanted.mode != "none":
            self._following = asyncio.create_task(self._follow())

    def _at_the_start(self, names: Iterable[str]) -> set[str]:
        if self._wanted.mode != "explicit" or EVERY in self._wanted.models:
            return set(names)
        wanted = set(self._wanted.models)
        for name in sorted(wanted.difference(names)):
            reason = "it is to be loaded at the start, and the repository has no such folder"
            self._board.tell(ModelStatus(name, 0, State.FAILED, reason))
        return wanted.intersection(names)

    def _show_absent(self, names: Iterable[str]) -> None:
        for name in sorted(names):
            self._board.tell(ModelStatus(name, 0, State.ABSENT, "not asked for"))

    async def close(self) -> None:
        """Follows no more."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    async def _follow(self) -> None:
        look = self._update_changed if self._wanted.mode == "poll" else self._list
        while True:
            await asyncio.sleep(self._wanted.poll_s)
            try:
                await look()
            except Exception:  # a repository that cannot be read now may be readable later
                logger.exception("the model repository cannot be followed; it is tried again")

    async def _update_changed(self) -> None:
        if changed := await asyncio.to_thread(self._changes.settled):
            await self._update_all(sorted({*changed, *self._waiting}))

    async def _list(self) -> None:
        """Shows folders that came, and those that went and are not loaded."""
        names = set(await asyncio.to_thread(model_names, self._repository))
        known = {status.name for status in self._board.all()}
        self._show_absent(names - known)
        for status in self._board.all():
            if status.state is State.ABSENT and status.name not in names:
                self._board.forget(status.name, status.version)

    async def _update_all(self, names: list[str]) -> None:
        found = await asyncio.to_thread(self._scan, names)
        await asyncio.gather(*(self._update(name, of_it) for name, of_it in found.items()))

    def _scan(self, names: Iterable[str]) -> dict[str, Found]:
        return {name: _scan_if_there(self._repository / name) or [] for name in names}

    async def _update(self, name: str, found: Found) -> tuple[str, ...]:
        outcome = await self._lifecycle.update(name, found)
        self._waiting.discard(name)
        if outcome.waits:
            self._waiting.add(name)
        return outcome.problems

    async def load(self, name: str, config: str, files: Mapping[str, bytes]) -> None:
        """See `Engine.load`."""
        self._check_allowed()
        if files and not config:
            raise InvalidRequestError("files of a model come with its configuration")
        if config:
            _check_config(config)
        _check_name(name)
        if not files:
            await self._load_from(self._repository / name, config, None)
            return
        override = await asyncio.to_thread(Override, name, files)
        try:
            await self._load_from(override.folder, config, override)
        finally:
            await asyncio.to_thread(override.release)

    async def _load_from(self, folder: Path, config: str, override: Override | None) -> None:
        name = folder.name
        found = await asyncio.to_thread(_scan_if_there, folder, config or None)
        if found is None:
            raise ModelNotFoundError(f"no model named {name!r}")
        if override:
            found = [
                replace(one, override=override) if isinstance(one, Entry) else one for one in found
            ]
        if problems := await self._update(name, found):
            raise UnavailableError(f"model {name!r} cannot be loaded: {'; '.join(problems)}")

    async def unload(self, name: str) -> None:
        """See `Engine.unload`."""
        self._check_allowed()
        if not self._board.of(name):
            raise ModelNotFoundError(f"no model named {name!r}")
        await self._lifecycle.unload(name)

    def _check_allowed(self) -> None:
        if self._wanted.mode != "explicit":
            raise UnavailableError(
                "models are loaded and unloaded by request where the setting `model_control` is "
                f"'explicit'; it is {self._wanted.mode!r}"
            )


def _scan_if_there(folder: Path, config: str | None = None) -> Found | None:
    return list(scan_model(folder, config)) if folder.is_dir() else None


def _check_name(name: str) -> None:
    """Sees that a name is that of a folder directly in the repository."""
    if name != Path(name).name or name.startswith(".") or not name:
        raise ModelNotFoundError(f"no model named {name!r}")


def _check_config(text: str) -> None:
    try:
        from_pbtxt(text)
    except ArtefactError as error:
        raise InvalidRequestError(f"the configuration cannot be read: {error}") from error

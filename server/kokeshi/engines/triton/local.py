"""A tritonserver that Kokeshi starts, supervises and ends."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from kokeshi.engines.protocol import Wanted
from kokeshi.engines.triton.installation import Installation
from kokeshi.engines.triton.launch import HOST, Launch, free_port
from kokeshi.engines.triton.running import Timeouts
from kokeshi.engines.triton.stub import Limits
from kokeshi.engines.triton.supervisor import Source, Supervisor

EVERY_MODEL: Final = "*"


def nothing_to_do(*_: object) -> None:
    """For those who need not be told."""


class LocalTriton:
    """A tritonserver on this machine, for the gateway alone.

    It ends when the gateway does, however that ends. A model whose process dies or hangs is in
    `fallen` within a second, and is loaded again.

    Args:
        installation: which tritonserver, see `find_tritonserver`.
        repository: folder of model folders.
        wanted: which models to load at the start.
        threads: cores that one batch may use, where a configuration does not say; 0: Triton's own.
        limits: of the model processes.
        timeouts: of the steps of starting.
        flags: more flags of tritonserver's.
        on_change: is called, on some thread, when `fallen` has changed.
        on_restart: is told, on some thread, of every restart: the model and the kind of fall.
    """

    def __init__(
        self,
        installation: Installation,
        repository: Path,
        *,
        wanted: Wanted | None = None,
        threads: int = 0,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        flags: Sequence[str] = (),
        on_change: Callable[[], None] = nothing_to_do,
        on_restart: Callable[[str, str], None] = nothing_to_do,
    ) -> None:
        self._wanted = wanted or Wanted()
        self._launch = Launch(installation, repository, free_port(), threads, flags)
        self._supervisor = Supervisor(
            self._launch, limits or Limits(), timeouts or Timeouts(), on_change, on_restart
        )

    @property
    def address(self) -> str:
        """host:port of its gRPC service; the same after a restart."""
        return f"{HOST}:{self._launch.port}"

    async def start(self) -> None:
        """Starts it; returns when every model wanted answers or failed.

        Raises:
            SetupError: it does not start.
        """
        explicit = self._wanted.mode == "explicit" and EVERY_MODEL not in self._wanted.models
        models = self._wanted.models if explicit else None
        await asyncio.to_thread(self._supervisor.start, models)

    async def close(self) -> None:
        """Ends it at once, with all its processes; let requests finish before."""
        await asyncio.to_thread(self._supervisor.close)

    def fallen(self) -> Mapping[str, str]:
        """The models that do not answer because what ran them fell, with the reason; a snapshot."""
        return {name: one.told for name, one in self._supervisor.fallen().items()}

    def expect(self, model: str, source: Source | None) -> Source | None:
        """A model is about to be loaded, or (None) unloaded, through its address.

        Returns:
            What was expected before; to be expected again where the load fails.
        """
        return self._supervisor.expect(model, source)

    def stands(self, model: str) -> None:
        """A model was loaded anew through its address, so it is not fallen."""
        self._supervisor.stands(model)

    def retire(self, model: str) -> None:
        """A model was unloaded through its address: the processes that ran it have to end."""
        self._supervisor.retire(model)

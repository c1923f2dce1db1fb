"""Whether requests should come here: the models are ready, and the server is not on its way out."""

import asyncio

from kokeshi.errors import UnavailableError
from kokeshi.service import Service


class Readiness:
    """Readiness as both doors report it.

    Args:
        service: whose models have to be ready.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._draining = asyncio.Event()
        self._closing = asyncio.Event()

    def drain(self) -> None:
        """Reports "not ready" from now on."""
        self._draining.set()

    def close(self) -> None:
        """Lets go of those who watch: the doors close now."""
        self._closing.set()

    async def closing(self) -> None:
        """Returns when the doors close."""
        await self._closing.wait()

    @property
    def draining(self) -> bool:
        """Whether the server is shutting down."""
        return self._draining.is_set()

    @property
    def ready(self) -> bool:
        """Whether requests will be answered."""
        return not self.draining and self._service.ready()

    def check(self) -> None:
        """Does nothing when ready.

        Raises:
            UnavailableError: not ready; the message says why.
        """
        if self.draining:
            raise UnavailableError("the server is shutting down")
        if not self._service.ready():
            waiting = [model for model in self._service.models() if model.state != "ready"]
            told = ", ".join(f"{model.name!r} is {model.state}" for model in waiting)
            raise UnavailableError(f"the server is not ready: {told or 'no model is loaded'}")

    async def wait(self, timeout_s: float) -> None:
        """Returns when draining begins, or after `timeout_s`."""
        try:
            await asyncio.wait_for(self._draining.wait(), timeout_s)
        except TimeoutError:
            return

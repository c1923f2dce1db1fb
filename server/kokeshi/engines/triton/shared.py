"""Tensors by shared memory, to one Triton server on the same machine.

A region takes all inputs of a request and every output whose size is known beforehand, where they
are large enough together to be worth it. It is never waited for: where none is free the request
goes over gRPC, and one more is registered for those that follow.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from grpc import aio
from numpy.typing import NDArray

from kokeshi.engines.protocol import Tensors
from kokeshi.engines.triton.faults import Fault, fault_of
from kokeshi.engines.triton.regions import (
    MAX_SHARED_BYTES,
    SMALLEST_BYTES,
    Region,
    Regions,
    aligned,
    clean_leftovers,
)
from kokeshi.engines.triton.wire import Place

logger = logging.getLogger(__name__)

# Inputs and outputs together, from which on shared memory cost less than gRPC at concurrency 1 and
# 16: 0.9 of its processor time at 64 KiB, 0.7 at 300 KiB, 0.3 to 0.5 at 2.4 MB.
SHARED_FROM_BYTES: Final = 65_536
CALL_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the tensors of one request lie, those that do."""

    region: Region | None = None
    inputs: Mapping[str, Place] = field(default_factory=dict)
    outputs: Mapping[str, Place] = field(default_factory=dict)


NOTHING: Final = Placed()


class SharedMemory:
    """One server's shared memory.

    Args:
        address: of the server, for the log.
        enabled: whether to try at all.
        from_bytes: inputs and outputs of a request, from which on they are shared.
        max_bytes: of all regions.
    """

    def __init__(
        self,
        address: str,
        *,
        enabled: bool,
        from_bytes: int = SHARED_FROM_BYTES,
        max_bytes: int = MAX_SHARED_BYTES,
    ) -> None:
        self.works = False
        self._refused = False  # the server or the machine gives no more
        self._address = address
        self._enabled = enabled
        self._from_bytes = from_bytes
        self._regions = Regions(max_bytes)
        self._stub: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._need = asyncio.Event()
        self._asked = False  # the event was asked for; says less often what costs a wake-up
        self._growing: asyncio.Task[None] | None = None

    async def start(self, stub: Any) -> None:  # noqa: ANN401 - tritonclient is untyped
        """Begins to find out whether the server sees our memory: see `sweep`."""
        if not self._enabled:
            return
        self._stub, self._loop = stub, asyncio.get_running_loop()
        await asyncio.to_thread(clean_leftovers)
        self._growing = asyncio.create_task(self._grow_as_needed())

    def place(self, inputs: Tensors, outputs: Mapping[str, int]) -> Placed:
        """Puts the inputs of a request into a region, with room for its outputs after them.

        Args:
            inputs: by name.
            outputs: bytes of each; one of 0 travels in the answer.
        """
        if not self.works:
            return NOTHING
        incoming = {name: tensor.nbytes for name, tensor in inputs.items() if _fixed(tensor)}
        outgoing = {name: nbytes for name, nbytes in outputs.items() if nbytes}
        total = sum(map(aligned, [*incoming.values(), *outgoing.values()]))
        if total < self._from_bytes:
            return NOTHING
        region = self._regions.take(total)
        if region is None:
            self._ask()
            return NOTHING
        places, offset = _places(region, incoming, 0)
        for name, place in places.items():
            region.write(place.offset, inputs[name])
        return Placed(region, places, _places(region, outgoing, offset)[0])

    def _ask(self) -> None:
        if not (self._asked or self._refused) and self._loop is not None:
            self._asked = True
            self._loop.call_soon_threadsafe(self._need.set)

    async def _grow_as_needed(self) -> None:
        while True:
            await self._need.wait()
            self._need.clear()
            self._asked = False
            for size in self._regions.wanted():
                await self._grow(size)

    def give(self, region: Region) -> None:
        """Takes back a region whose request is over."""
        self._regions.give(region)

    def lose(self, region: Region) -> None:
        """Takes back a region that the server may still use."""
        self._regions.lose(region)

    def restart(self, region: Region) -> None:
        """The server does not know a region of ours: it was started anew, and knows none."""
        if self._regions.knows(region):
            self.works = False
            self._regions.forget()

    async def sweep(self) -> None:
        """Tries again what did not work, and unregisters what was given up."""
        if self._stub is None:
            return
        if not (self.works or self._refused):
            await self._grow(SMALLEST_BYTES)
        for region in self._regions.due():
            if await self._unregistered(region):
                self._regions.discard(region)
            else:
                self._regions.again(region)

    async def _grow(self, size: int) -> None:
        """One more region, where that is possible."""
        try:
            region = self._regions.make(size)
            if region is None:
                return
            await self._register_or_discard(region)
        except OSError as error:
            self._give_up(f"this machine gives none: {error.strerror}")
        except Fault as fault:
            if fault.code not in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}:  # else it is asked again
                self._give_up(fault.details)
        else:
            self._regions.add(region)
            self._work()

    async def _register_or_discard(self, region: Region) -> None:
        try:
            await self._register(region)
        except BaseException:  # cancelled, too
            self._regions.discard(region)
            raise

    def _work(self) -> None:
        if not self.works:
            logger.info("tensors reach the Triton server %s by shared memory", self._address)
        self.works = True

    def _give_up(self, why: str) -> None:
        """Goes on with what there is; said once, as only a restart of this process changes it."""
        if not self._refused:
            less = "no more shared memory" if self.works else "no shared memory"
            told = "%s with the Triton server %s, other tensors go over gRPC: %s"
            logger.warning(told, less, self._address, why)
        self._refused = True

    async def _register(self, region: Region) -> None:
        from tritonclient.grpc import service_pb2

        request = service_pb2.SystemSharedMemoryRegisterRequest(
            name=region.name, key=f"/{region.name}", offset=0, byte_size=region.nbytes
        )
        try:
            await self._stub.SystemSharedMemoryRegister(request, timeout=CALL_TIMEOUT_S)
        except aio.AioRpcError as error:
            raise fault_of(error) from None

    async def _unregistered(self, region: Region) -> bool:
        """Whether the server has let go of a region."""
        from tritonclient.grpc import service_pb2

        request = service_pb2.SystemSharedMemoryUnregisterRequest(name=region.name)
        try:
            await self._stub.SystemSharedMemoryUnregister(request, timeout=CALL_TIMEOUT_S)
        except aio.AioRpcError as error:
            return fault_of(error).code == "NOT_FOUND"
        return True

    async def close(self) -> None:
        """Tells the server, and gives the memory back whatever it says."""
        if self._growing is not None:
            self._growing.cancel()
            await asyncio.gather(self._growing, return_exceptions=True)
        if self.works:
            await asyncio.gather(*map(self._unregistered, self._regions.registered()))
        self.works, self._stub = False, None
        self._regions.forget()


def _places(region: Region, sizes: Mapping[str, int], offset: int) -> tuple[dict[str, Place], int]:
    """Places one after another, and where the last ends."""
    places = {}
    for name, nbytes in sizes.items():
        places[name] = Place(region.name, offset, nbytes)
        offset += aligned(nbytes)
    return places, offset


def _fixed(tensor: NDArray[Any]) -> bool:
    return tensor.dtype != np.object_ and tensor.nbytes > 0

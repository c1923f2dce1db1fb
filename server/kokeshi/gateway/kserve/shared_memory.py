"""System shared memory: regions that clients on this machine made, and named to the server.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_shared_memory.md

The client makes and removes the POSIX object; here it is only mapped. A region that is unregistered
while a request reads it stays mapped until that request lets go of it.
"""

import mmap
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from weakref import WeakKeyDictionary

from kokeshi.errors import (
    AlreadyExistsError,
    InvalidRequestError,
    NotFoundError,
    UnimplementedError,
)
from kokeshi.gateway.kserve.parameters import Region
from kokeshi.service import Service

FOLDER: Final = "/dev/shm"  # where Linux keeps what shm_open makes
MAX_KEY_CHARS: Final = 255  # NAME_MAX
RESERVED_PREFIX: Final = "triton_python_backend_shm_region_"  # between Triton and its own processes


@dataclass(frozen=True)
class Registered:
    """A region as `SystemSharedMemoryStatus` tells it."""

    name: str
    key: str
    offset: int
    byte_size: int


@dataclass(frozen=True)
class _Mapped:
    registered: Registered
    object: mmap.mmap
    memory: memoryview  # of the region alone


class SharedMemory:
    """The regions of one server; any thread may ask.

    Whoever may register a region can read and write every object of the server's user in shared
    memory. Where clients are not trusted with that, `allowed` is False and registering is refused.
    """

    def __init__(self, *, allowed: bool = True) -> None:
        self.allowed = allowed
        self._lock = threading.Lock()
        self._regions: dict[str, _Mapped] = {}

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Maps a region.

        Args:
            name: what requests will call it.
            key: of the POSIX shared memory object, with or without its leading slash.
            offset: in bytes, of the region in the object.
            byte_size: of the region.

        Raises:
            UnimplementedError: this server takes no shared memory.
            AlreadyExistsError: the name is taken.
            InvalidRequestError: there is no such object, or the region is not inside it.
        """
        if not self.allowed:
            raise UnimplementedError("client shared memory is disabled on this server")
        with self._lock:
            if name in self._regions:
                raise AlreadyExistsError(f"shared memory region {name!r} already in manager")
            if not name:
                raise InvalidRequestError("a shared memory region has a name, not ''")
            self._regions[name] = _mapped(Registered(name, key, offset, byte_size))

    def unregister(self, name: str = "") -> None:
        """Forgets a region, or ("") all; one that is not known is no error, as in Triton."""
        with self._lock:
            if name:
                self._regions.pop(name, None)
            else:
                self._regions.clear()

    def status(self, name: str = "") -> Sequence[Registered]:
        """One region, or ("") all of them, by name.

        Raises:
            NotFoundError: it is not registered.
        """
        with self._lock:
            if not name:
                return [self._regions[each].registered for each in sorted(self._regions)]
            if name not in self._regions:
                raise NotFoundError(f"unable to find system shared memory region: {name!r}")
            return [self._regions[name].registered]

    def read(self, region: Region) -> memoryview:
        """The bytes of a tensor, read-only, as the client has them now: it may write to them still.

        Raises:
            NotFoundError: the region is not registered.
            InvalidRequestError: the tensor is not inside it.
        """
        return self._slice(region).toreadonly()

    def write(self, region: Region, output: str, data: bytes | memoryview) -> None:
        """Writes an output.

        Raises:
            NotFoundError: the region is not registered.
            InvalidRequestError: the place is not inside it, or too small.
        """
        place = self._slice(region)
        if len(data) > len(place):
            raise InvalidRequestError(
                f"shared memory size specified with the request for output {output!r} "
                f"({len(place)} bytes) should be at least {len(data)} bytes to hold the results"
            )
        place[: len(data)] = data

    def _slice(self, region: Region) -> memoryview:
        with self._lock:
            found = self._regions.get(region.name)
        if found is None:
            raise NotFoundError(f"unable to find shared memory region: {region.name!r}")
        if found.object.size() < len(found.object):  # touching what is gone would be a SIGBUS
            raise InvalidRequestError(f"shared memory region {region.name!r} was made shorter")
        size = len(found.memory)
        if region.offset > size:
            raise InvalidRequestError(
                f"invalid offset for shared memory region: {region.name!r} has {size} bytes, "
                f"the offset is {region.offset}"
            )
        if region.offset + region.byte_size > size:
            raise InvalidRequestError(
                f"invalid offset + byte size for shared memory region: {region.name!r} has {size} "
                f"bytes, not {region.offset} + {region.byte_size}"
            )
        return found.memory[region.offset : region.offset + region.byte_size]


_OF_SERVICE: "WeakKeyDictionary[Service, SharedMemory]" = WeakKeyDictionary()


def regions_of(service: Service) -> SharedMemory:
    """The regions of a service: one that was registered at one door is known at the other."""
    found = _OF_SERVICE.get(service)
    if found is None:
        found = _OF_SERVICE.setdefault(service, SharedMemory())
    return found


def _mapped(region: Registered) -> _Mapped:
    path = os.path.join(FOLDER, _file_name(region))
    try:
        # the client's object and no link: a name there must not lead to a file elsewhere
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidRequestError(f"unable to open shared memory region: {region.key!r}") from error
    end = region.offset + region.byte_size
    try:
        size = os.fstat(descriptor).st_size
        if region.byte_size < 1 or region.offset < 0 or end > size:
            raise InvalidRequestError(
                f"failed to register shared memory region {region.name!r}: invalid args: "
                f"{region.offset} + {region.byte_size} bytes are not inside the {size} of "
                f"{region.key!r}"
            )
        # an offset of a mapping is a multiple of the page, a region's is any
        mapping = mmap.mmap(descriptor, end)
    except (OSError, ValueError) as error:
        raise InvalidRequestError(
            f"failed to register shared memory region {region.name!r}: {region.key!r} cannot be "
            "mapped"
        ) from error
    finally:
        os.close(descriptor)
    return _Mapped(region, mapping, memoryview(mapping)[region.offset :])


def _file_name(region: Registered) -> str:
    """The object's name in the folder: shm_open takes slashes before it, and none inside."""
    bare = region.key.lstrip("/")
    if not bare or "/" in bare or "\0" in bare or bare in {".", ".."} or len(bare) > MAX_KEY_CHARS:
        raise InvalidRequestError(
            f"cannot register shared memory region {region.name!r}: invalid shm key "
            f"{region.key[:MAX_KEY_CHARS]!r}"
        )
    if bare.startswith(RESERVED_PREFIX):
        raise InvalidRequestError(
            f"cannot register shared memory region {region.name!r} with key {region.key!r} as the "
            f"key contains the reserved prefix {RESERVED_PREFIX!r}"
        )
    return bare

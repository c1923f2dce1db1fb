"""Memory that was freed, given back to the operating system."""

import ctypes
from collections.abc import Callable
from functools import cache


def give_back() -> None:
    """Asks the C library to return what it keeps of freed memory; only glibc can be asked.

    Without it, what an unloaded model held stays with the process until something else needs it.
    """
    if trim := _trim():
        trim(0)


@cache
def _trim() -> "Callable[[int], int] | None":
    try:
        library = ctypes.CDLL(None)  # what this process is linked with
        trim: Callable[[int], int] = library.malloc_trim
    except (OSError, AttributeError):  # no glibc
        return None
    return trim

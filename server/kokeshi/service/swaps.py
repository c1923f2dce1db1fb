"""A call that a change of versions overtook is made again, on the version that took over."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from kokeshi.errors import ModelNotFoundError, UnavailableError

P = ParamSpec("P")
T = TypeVar("T")
Call = Callable[P, Coroutine[Any, Any, T]]


def survives_swaps(call: Call[P, T]) -> Call[P, T]:
    """Makes a call that asked for the newest version once more, where that went meanwhile.

    A call looks its model up, decodes, and then runs: the version it saw may be unloaded between.
    Where the model is gone for good, the second attempt ends at the look-up. Calls that write are
    not made again: a store that went away may have written.
    """

    @wraps(call)
    async def made(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await call(*args, **kwargs)
        except (ModelNotFoundError, UnavailableError):
            if kwargs.get("version"):
                raise
        return await call(*args, **kwargs)

    return made

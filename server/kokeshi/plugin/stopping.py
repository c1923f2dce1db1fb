"""Lets long work end between its steps, when nobody waits for it or it has taken too long."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_CHECK: Final[ContextVar[Callable[[], None] | None]] = ContextVar("check", default=None)


@contextmanager
def stoppable(check: Callable[[], None]) -> Iterator[None]:
    """Inside the context, and on its thread, `go_on` calls the check, which raises to stop."""
    token = _CHECK.set(check)
    try:
        yield
    finally:
        _CHECK.reset(token)


def go_on() -> None:
    """Called between the steps of a long `fit` or `measure`.

    Raises:
        KokeshiError: nobody waits for the rest, or it takes too long: let it pass.
    """
    check = _CHECK.get()
    if check is not None:
        check()

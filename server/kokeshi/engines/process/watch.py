"""Sees what becomes of a process that runs a graph."""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from kokeshi.engines.process.peer import Peer
from kokeshi.engines.process.ready import ready

LOOK_S: Final = 0.2  # between two looks at a process that lives; its death is seen at once


class Fate(StrEnum):
    """Why a process is gone: the label `reason` of kokeshi_model_restarts_total."""

    DIED = "died"
    STOPPED = "stopped"
    WEDGED = "wedged"
    NOT_STARTED = "not_started"  # it did not come up again


def watch(
    peer: Peer, wedge_timeout_s: float, closing_fd: int, lives: Callable[[], None]
) -> tuple[Fate, str] | None:
    """Blocks until a process is gone; one that does not answer any more is ended.

    Args:
        peer: the process.
        wedge_timeout_s: how long a batch may run.
        closing_fd: readable once nobody wants to know any more.
        lives: is called now and again while it lives.

    Returns:
        What became of it, and in words; None: nobody wants to know.
    """
    while True:
        told = ready(LOOK_S, peer.pidfd, closing_fd)
        if closing_fd in told:
            return None
        if told:
            return Fate.DIED, peer.how_it_ended()
        if peer.is_stopped():
            return _ended(peer, Fate.STOPPED, "its process was stopped")
        if peer.longest_s() > wedge_timeout_s:
            reason = f"its process did not answer a batch within {wedge_timeout_s:g} s"
            return _ended(peer, Fate.WEDGED, reason)
        lives()


def _ended(peer: Peer, fate: Fate, reason: str) -> tuple[Fate, str]:
    peer.kill()
    return fate, reason

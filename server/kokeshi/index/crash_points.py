"""Named moments at which a fault test ends the process, as kill -9 would."""

import os
import signal
from typing import Final

VARIABLE: Final = "KOKESHI_CRASH_AT"  # "<name>" or "<name>:<passage>", the first one is 1

_name, _, _passage = os.environ.get(VARIABLE, "").partition(":")
_left = int(_passage or 1)


def crash_point(name: str) -> None:
    """Ends the process here if the environment says so; else it costs one comparison."""
    global _left  # noqa: PLW0603 - one process dies once
    if name != _name:
        return
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

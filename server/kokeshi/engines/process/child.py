"""The process that runs one graph: `python -m kokeshi.engines.process.child PARENT FD ...`.

It serves the connections whose sockets it inherits, and ends with the first of them. It imports
what it needs to open a graph, and no more.
"""

import ctypes
import logging
import os
import signal
import socket
import struct
import sys
import threading
from typing import Final

from kokeshi.engines.process.channel import Answering, Reply, Tensors, serve
from kokeshi.engines.process.questions import Opened, Opening, Question
from kokeshi.engines.runtimes import Runtime, open_runtime

PROGRESS: Final = struct.Struct("<d")  # of a note while a graph is opened: the fraction done
_PR_SET_PDEATHSIG: Final = 1
# Whoever stops the server sends these to the whole group; the server decides when its models end.
_PARENTS_AFFAIR: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP)


class Worker:
    """Answers questions about one graph, on several connections at once.

    Args:
        first: the connection on which the graph is opened.
    """

    def __init__(self, first: Answering) -> None:
        self._first = first
        self._runtime: Runtime | None = None

    def answer(self, kind: int, meta: bytes, tensors: Tensors) -> Reply:
        """See `kokeshi.engines.process.channel.Handler`."""
        if kind == Question.RUN and self._runtime is not None:
            return b"", self._runtime.run(tensors)
        return self._open(Opening.model_validate_json(meta)).model_dump_json().encode(), {}

    def _open(self, opening: Opening) -> Opened:
        self._runtime = open_runtime(
            opening.graph,
            opening.config,
            threads=opening.threads,
            cache_folder=opening.cache_folder,
            progress=lambda done: self._first.note(PROGRESS.pack(done)),
        )
        return Opened.of(self._runtime)


def main(parent: int, fds: list[int]) -> None:
    """Serves until the parent closes the first connection, or dies."""
    _die_with(parent)
    for number in _PARENTS_AFFAIR:
        signal.signal(number, signal.SIG_IGN)
    logging.basicConfig(format="%(levelname)s %(name)s (process %(process)d): %(message)s")
    first, *others = (socket.socket(fileno=fd) for fd in fds)
    answering = Answering(first)
    worker = Worker(answering)
    for connection in others:
        threading.Thread(target=serve, args=(connection, worker.answer), daemon=True).start()
    answering.serve(worker.answer)


def _die_with(parent: int) -> None:
    """Has the kernel kill this process when its parent ends, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before it could be told
        os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(fd) for fd in sys.argv[2:]])
    os._exit(0)  # the kernel takes memory back faster than a graph that is taken apart

"""A process that works on a store until it is killed: `python -m faultkit.driver SETTINGS`.

SETTINGS is JSON. It says on standard output what it begins and what was acknowledged, each with one
system call, so that nothing that it said is lost with it.
"""

import json
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

from faultkit.watch import Watcher, watching
from faultkit.work import operation, perform, small_tuning, spec
from kokeshi.errors import KokeshiError
from kokeshi.index import EmbeddedStore


class Killer(Watcher):
    """Ends the process before or after the n-th event of a kind."""

    def __init__(self, kind, count, moment):
        self._kind = kind
        self._left = count
        self._moment = moment

    def before(self, event):
        self._meet(event, "before")

    def after(self, event):
        self._meet(event, "after")

    def _meet(self, event, moment):
        if event.kind == self._kind and moment == self._moment:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def run(directory, seed, first, count, kill=None, settings=None):
    watch = watching(Killer(**kill), directory) if kill else nullcontext()
    with watch, EmbeddedStore(Path(directory), small_tuning()) as store:
        store.ensure(spec(**(settings or {})))
        say("open")
        for number in range(first, first + count):
            work(store, operation(seed, number))
        say("end")


def work(store, wanted):
    say("begin", wanted.number)
    try:
        receipt = perform(store, wanted)
    except KokeshiError as error:
        say("refused", wanted.number, type(error).__name__)
        return
    say("done", wanted.number, receipt.seq)
    if wanted.number % 50 == 0:
        store.wait_idle()


if __name__ == "__main__":
    run(**json.loads(sys.argv[1]))

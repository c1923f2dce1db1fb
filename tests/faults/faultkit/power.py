"""Power cuts: images of a disk taken while a store works on it, with what it must hold then."""

import threading
from contextlib import contextmanager

from faultkit.disk import Disk
from faultkit.oracle import Ledger
from faultkit.watch import Watcher, watching
from faultkit.work import operation, perform, small_tuning, spec
from kokeshi.errors import KokeshiError
from kokeshi.index import EmbeddedStore

REOPENED_AFTER = 25  # operations: closing folds the log into the database


class Cuts(Watcher):
    """Takes an image before a random share of the events, together with the ledger."""

    def __init__(self, disk, ledger, rng, share):
        self.images = []
        self._disk = disk
        self._ledger = ledger
        self._rng = rng
        self._share = share
        self._lock = threading.Lock()

    def before(self, event):
        with self._lock:
            is_chosen = self._rng.random() < self._share
        if is_chosen:
            self.cut()

    def after(self, event):
        self._disk.after(event)

    def cut(self):
        with self._ledger.lock:  # nothing is acknowledged meanwhile
            self.images.append((self._disk.image(), self._ledger.copy()))


@contextmanager
def simulated(directory):
    """A disk model of a directory, for as long as a store works in it."""
    directory.mkdir()
    disk = Disk(directory)
    try:
        yield disk
    finally:
        disk.close()


def worked(directory, seed, rng, operations, share, settings=None):
    """Works through operations; the images of the cuts, one of the very end among them."""
    ledger = Ledger()
    with simulated(directory) as disk:
        cuts = Cuts(disk, ledger, rng, share)
        with watching(cuts, directory):
            with EmbeddedStore(directory, small_tuning()) as store:
                store.create(spec(**(settings or {})))
            cuts.images.clear()  # before, there is no collection that could be asked
            for first in range(0, operations, REOPENED_AFTER):
                with EmbeddedStore(directory, small_tuning()) as store:
                    for number in range(first, min(first + REOPENED_AFTER, operations)):
                        do(store, ledger, operation(seed, number))
                    if rng.random() < 0.5:
                        store.wait_idle()
            cuts.cut()
    return cuts.images, ledger


def do(store, ledger, wanted):
    """One operation, noted; false when it was refused."""
    ledger.begin(wanted)
    try:
        perform(store, wanted)
    except KokeshiError:
        return False
    ledger.acknowledge(wanted)
    return True

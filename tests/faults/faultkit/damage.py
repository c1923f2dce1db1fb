"""Data directories to damage: made by known writes, copied as a kill would leave them."""

import shutil
from pathlib import Path

from faultkit.oracle import Ledger, after, check_reads, read_all
from faultkit.work import NAME, operation, perform, small_tuning, spec
from kokeshi.errors import SetupError, UnavailableError
from kokeshi.index import EmbeddedStore

KEPT_OUT = ("lock",)  # and what SQLite makes anew after a restart
WAL = "*-wal"


def filled(directory, seed, operations=40):
    """A directory closed in order, with index files; its ledger."""
    ledger = Ledger()
    with EmbeddedStore(directory, small_tuning()) as store:
        store.create(spec())
        for number in range(operations):
            wanted = operation(seed, number)
            perform(store, wanted)
            ledger.acknowledge(wanted)
        assert store.wait_idle()
    return ledger


def cut_off(directory, target, seed, operations):
    """A copy of a store that is still open: as kill -9 leaves it. (ledger, log sizes per write)."""
    ledger, sizes = Ledger(), []
    with EmbeddedStore(directory, small_tuning()) as store:
        store.create(spec())  # folded into the database when it closes
    with EmbeddedStore(directory, small_tuning()) as store:
        for number in range(operations):
            wanted = operation(seed, number)
            perform(store, wanted)
            ledger.acknowledge(wanted)
            sizes.append(next(directory.glob(WAL)).stat().st_size)
        assert store.wait_idle()  # no file comes or goes while they are copied
        copied(directory, target)
    return ledger, sizes


def copied(directory, target):
    """A copy without lock and shared memory."""
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(directory, target, ignore=shutil.ignore_patterns(*KEPT_OUT, "*-shm"))


def files_of(directory):
    """Every file with content, by path from the directory."""
    return sorted(
        path.relative_to(directory)
        for path in directory.rglob("*")
        if path.is_file() and path.stat().st_size and path.name not in KEPT_OUT
    )


def is_derived(path):
    """True for what is rebuilt from the database."""
    return "sqlite" not in path.name


def flip(path, rng, bits=1):
    """Turns bits of a file; where."""
    content = bytearray(path.read_bytes())
    places = [rng.randrange(8 * len(content)) for _ in range(bits)]
    for place in places:
        content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)
    return places


def answers(directory, name=NAME):
    """What a store says of a damaged directory: its state, or None where it refuses to."""
    try:
        with EmbeddedStore(Path(directory), small_tuning()) as store:
            state = read_all(store, name)
            check_reads(store, state, name)
            return state
    except (SetupError, UnavailableError):
        return None


def prefixes(ledger):
    """States after each of the writes, the empty one first."""
    states = [{}]
    for wanted in ledger.history:
        states.append(after(states[-1], wanted))
    return states

"""The store behind a socket: killed in mid-batch, cut off, asked again."""

import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from faultkit.oracle import Ledger, check, read_all
from faultkit.process import environment
from faultkit.work import NAME, operation, perform, small_tuning, spec

from kokeshi.errors import UnavailableError
from kokeshi.index import EmbeddedStore
from kokeshi.index.remote import RemoteStore, serve_store
from kokeshi.local_calls import send

FAMILY = "17 the remote store"
HOST = """
import sys
from pathlib import Path
from faultkit.work import small_tuning
from kokeshi.index import EmbeddedStore
from kokeshi.index.remote import serve_store
store = EmbeddedStore(Path(sys.argv[1]), small_tuning())
serve_store(store, Path(sys.argv[2]))
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder():
    """A socket's path has at most 107 bytes, and pytest's folders are deep."""
    with tempfile.TemporaryDirectory(prefix="kokeshi-faults-") as made:
        yield Path(made)


def host(folder):
    (folder / "store").unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", HOST, folder / "data", folder / "store"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout.readline() == b"open\n"
    return process


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_a_batch_that_a_kill_cut_off_is_whole_or_absent_and_can_be_sent_again(
    folder, seed, rng, rounds, tally
):
    ledger, number, wanted = Ledger(), 0, rounds(2, 40)
    with EmbeddedStore(folder / "data", small_tuning()) as store:
        store.create(spec())
    for turn in range(wanted):
        process = host(folder)
        remote = RemoteStore(folder / "store")
        if ledger.pending is not None:
            ledger.adopt(check(remote, ledger.possible(), note=f"seed {seed}, round {turn}"))
        timer = threading.Timer(rng.uniform(0.0, 0.01), kill, [process])
        last = number + rng.randint(1, 60)
        number = write_until_gone(remote, ledger, seed, number, at=(last, timer.start))
        timer.join()
        remote.close()
    with EmbeddedStore(folder / "data", small_tuning()) as store:
        state = check(store, ledger.possible(), note=f"seed {seed}")
        if ledger.pending.request_id is not None:  # the client tries again
            first = perform(store, ledger.pending)
            assert perform(store, ledger.pending) == first
            assert read_all(store) == ledger.possible()[1]
        elif state != ledger.state:
            assert state == ledger.possible()[1]
    tally(rounds=wanted, operations=len(ledger.history))
    assert ledger.history


def write_until_gone(remote, ledger, seed, number, at):
    """Writes on and on, starts the timer at a number; the first number not begun."""
    while True:
        if number == at[0]:
            at[1]()
        ledger.begin(operation(seed, number))
        number += 1
        try:
            perform(remote, ledger.pending)
        except UnavailableError:
            return number
        ledger.acknowledge(ledger.pending)


def test_a_client_that_leaves_in_mid_call_disturbs_no_other(tmp_path, folder, seed, rounds):
    """It sends half of a request, or a whole one and does not wait for the answer."""
    with EmbeddedStore(tmp_path / "data", small_tuning()) as store:
        listener = serve_store(store, folder / "store")
        remote = RemoteStore(folder / "store")
        remote.create(spec())
        ledger, rng = Ledger(), random.Random(seed)
        for number in range(rounds(20, 400)):
            wanted = operation(seed, number)
            perform(remote, wanted)
            ledger.acknowledge(wanted)
            leave_early(folder / "store", wanted, rng)
        check(remote, [ledger.state])
        remote.close()
        listener.close()


def leave_early(path, wanted, rng):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        if rng.random() < 0.5:
            client.sendall(rng.randbytes(rng.randrange(8)))
            return
        send(client, ("delete", (NAME, ["absent"]), {"tenant": wanted.tenant}))


def test_a_write_whose_answer_was_lost_is_written_once(tmp_path, folder, seed):
    wanted = next(one for n in range(99) if (one := operation(seed, n)).request_id)
    with EmbeddedStore(tmp_path / "data", small_tuning()) as store:
        listener = serve_store(store, folder / "store")
        store.create(spec())
        arguments = {
            "space": "0123456789abcdef",
            "request_id": wanted.request_id,
            "add_only": False,
            "tenant": wanted.tenant,
        }
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(folder / "store"))
            send(client, ("upsert", (NAME, wanted.items()), arguments))
        remote = RemoteStore(folder / "store")
        receipt = perform(remote, wanted)
        assert receipt == perform(remote, wanted)
        assert remote.describe(NAME).seq == receipt.seq == 1
        remote.close()
        listener.close()

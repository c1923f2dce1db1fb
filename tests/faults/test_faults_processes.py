"""Two processes, directories that cannot be written, formats of other versions, forks."""

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import apsw
import pytest
from faultkit.damage import filled
from faultkit.oracle import Ledger, check, read_all
from faultkit.process import environment, follow, start
from faultkit.work import NAME, operation, perform, small_tuning, spec

from kokeshi.errors import KokeshiError, SetupError
from kokeshi.index import EmbeddedStore

FAMILY = "7, 8, 9 processes, permissions and formats"
GOLDEN = sorted((Path(__file__).parents[1] / "index" / "fixtures").rglob("*.sqlite*"))


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path, seed, rounds, tally):
    ledger, first = Ledger(), 0
    wanted = rounds(1, 20)
    for _ in range(wanted):
        with start(tmp_path, seed, first) as process:
            lines = [process.stdout.readline() for _ in range(20)]
            for _ in range(3):
                with pytest.raises(SetupError, match="in use"):
                    EmbeddedStore(tmp_path)
            process.kill()
            lines += process.stdout.read().splitlines(keepends=True)
        first = follow(ledger, seed, lines) + 1
        with EmbeddedStore(tmp_path, small_tuning()) as store:
            ledger.adopt(check(store, ledger.possible()))
    tally(rounds=wanted, operations=len(ledger.history))


def test_a_refused_process_changes_no_byte(tmp_path):
    with EmbeddedStore(tmp_path) as store:
        store.create(spec())
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(SetupError):
            EmbeddedStore(tmp_path)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
        perform(store, operation(0, 0))


OPEN = """
import os, sys
from pathlib import Path
from kokeshi.errors import KokeshiError
from kokeshi.index import EmbeddedStore
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
try:
    EmbeddedStore(Path(sys.argv[1])).close()
except KokeshiError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("mode", ["0555", "0700"], ids=["read-only", "of another user"])
def test_a_directory_that_cannot_be_written_is_refused_and_left_as_it_is(seed, mode):
    if mode == "0700" and os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    with tempfile.TemporaryDirectory(prefix="kokeshi-faults-") as folder:
        Path(folder).chmod(0o755)
        data = Path(folder) / "data"
        ledger = filled(data, seed, 20)
        before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
        data.chmod(int(mode, 8))
        said = opened_by_nobody(data)
        assert said.startswith("SetupError cannot"), said
        assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before
        data.chmod(0o755)
        with EmbeddedStore(data, small_tuning()) as store:
            assert read_all(store) == ledger.state


def opened_by_nobody(data):
    done = subprocess.run(
        [sys.executable, "-c", OPEN, str(data)],
        capture_output=True,
        text=True,
        env=environment(PYTHONDONTWRITEBYTECODE="1"),
        check=False,
    )
    return done.stdout or done.stderr


def test_a_newer_format_is_refused_and_no_byte_changed(tmp_path, seed):
    filled(tmp_path, seed, 10)
    path = next(tmp_path.glob("*.sqlite"))
    database = apsw.Connection(str(path))
    database.execute("UPDATE schema_version SET version = 1000")
    database.close()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(SetupError, match="format 1000"):
        EmbeddedStore(tmp_path)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("golden", GOLDEN, ids=[path.parent.name for path in GOLDEN])
def test_databases_of_every_released_format_open_and_can_be_written(tmp_path, golden):
    shutil.copy(golden, tmp_path / "vectors.sqlite")
    with EmbeddedStore(tmp_path, small_tuning()) as store:
        before = {info.spec.name: (info.count, info.quarantine) for info in store.collections()}
        assert before, "the fixture holds no collection"
        store.create(spec("added"))
        perform(store, operation(0, 0), "added")
    with EmbeddedStore(tmp_path, small_tuning()) as store:
        now = {info.spec.name: (info.count, info.quarantine) for info in store.collections()}
        now.pop("added")
        assert now == before
        assert all(quarantine is None for _, quarantine in now.values())


HOST = """
import os, sys
from pathlib import Path
from faultkit.work import operation, perform, small_tuning, spec
from faultkit.oracle import Ledger, check
from kokeshi.index import EmbeddedStore
ledger = Ledger()
with EmbeddedStore(Path(sys.argv[1]), small_tuning()) as store:
    store.create(spec())
    for number in range(30):
        perform(store, operation(5, number))
        ledger.acknowledge(operation(5, number))
        if number % 10 == 0:
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
    check(store, [ledger.state])
print("right")
"""


def test_a_host_program_that_forks_does_not_disturb_the_store(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", HOST, str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert done.stdout == "right\n", done.stderr


def test_every_error_survives_the_way_to_another_process(tmp_path):
    with EmbeddedStore(tmp_path) as store, pytest.raises(KokeshiError) as caught:
        store.describe(NAME)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (type(caught.value), str(caught.value))

"""kill -9 at every named point of the code, and around it."""

import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from faultkit.damage import filled
from faultkit.notes import word_of, write_notes
from faultkit.oracle import Ledger, check
from faultkit.process import environment, run_to_death
from faultkit.work import small_tuning, spec

import kokeshi.index
from kokeshi.errors import SetupError
from kokeshi.index import EmbeddedStore
from kokeshi.index.backup import backup, verify_backup
from kokeshi.index.crash_points import VARIABLE
from kokeshi.index.restore import restore

FAMILY = "2 kill -9 at named points"
CALL = re.compile(r"crash_point\(\"([a-z_.]+)\"\)")
POINTS = sorted(
    {
        name
        for path in Path(kokeshi.index.__file__).parent.rglob("*.py")
        for name in CALL.findall(path.read_text())
    }
)
AT_WORK = [name for name in POINTS if name.startswith(("cache.", "writer.", "builder."))]
COPYING = [name for name in POINTS if name.startswith(("backup.", "restore."))]
MIGRATING = [name for name in POINTS if name.startswith("migration.")]
OLD = Path(__file__).parents[1] / "index" / "fixtures" / "v1"


def test_every_named_point_has_its_test():
    assert POINTS
    assert set(POINTS) == {*AT_WORK, *COPYING, *MIGRATING}


@pytest.mark.parametrize("point", AT_WORK)
def test_a_kill_at_a_named_point(tmp_path, seed, rng, rounds, tally, point):
    ledger, first = Ledger(), 0
    wanted, died = rounds(1, 10), 0
    for number in range(wanted):
        passage = rng.randint(1, 2 + 2 * number)
        status, first = run_to_death(
            tmp_path, ledger, seed, first, count=150, environ={VARIABLE: f"{point}:{passage}"}
        )
        died += status == -signal.SIGKILL
        with EmbeddedStore(tmp_path, small_tuning()) as store:
            store.ensure(spec())
            note = f"seed {seed}, round {number}, {point}:{passage}"
            ledger.adopt(check(store, ledger.possible(), note=note))
    tally(rounds=wanted, operations=len(ledger.history))
    assert died, "no process came to the point"


COPY = """
import sys
from pathlib import Path
from kokeshi.index.backup import backup
from kokeshi.index.restore import restore
backup(Path(sys.argv[1]), Path(sys.argv[2]))
restore(Path(sys.argv[2]), Path(sys.argv[3]), is_replacing=True)
"""
OPEN = """
import sys
from pathlib import Path
from kokeshi.index import EmbeddedStore
EmbeddedStore(Path(sys.argv[1])).close()
"""


def died(code, *arguments, point):
    """Runs code that must die at a point."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment(**{VARIABLE: point}),
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("point", COPYING)
def test_a_kill_in_a_backup_or_a_restore(tmp_path, seed, point):
    """The target of the restore holds what it held, or what was backed up, or refuses to open."""
    wanted = filled(tmp_path / "data", seed, 30)
    before = filled(tmp_path / "target", seed + 1, 10)
    write_notes(tmp_path / "data", "wanted")
    write_notes(tmp_path / "target", "before")
    died(COPY, tmp_path / "data", tmp_path / "backup", tmp_path / "target", point=point)
    if (tmp_path / "backup").exists():
        assert verify_backup(tmp_path / "backup").is_sound
    else:
        backup(tmp_path / "data", tmp_path / "backup")
    with suppress(SetupError), EmbeddedStore(tmp_path / "target", small_tuning()) as store:
        found = check(store, [before.state, wanted.state])
        assert word_of(tmp_path / "target") == ("wanted" if found == wanted.state else "before")
    restore(tmp_path / "backup", tmp_path / "target", is_replacing=True)
    for name in ("data", "target"):
        with EmbeddedStore(tmp_path / name, small_tuning()) as store:
            check(store, [wanted.state])
        assert word_of(tmp_path / name) == "wanted"


@pytest.mark.parametrize("point", MIGRATING)
def test_a_kill_in_a_migration_leaves_one_good_database(tmp_path, point):
    shutil.copytree(OLD, tmp_path / "whole")
    shutil.copytree(OLD, tmp_path / "cut")
    died(OPEN, tmp_path / "cut", point=point)
    found = []
    for name in ("whole", "cut"):
        with EmbeddedStore(tmp_path / name, small_tuning()) as store:
            found.append(contents(store))
    assert found[0]
    assert found[0] == found[1]


def contents(store):
    """All that a store holds, of tenants too: (collection, id, metadata, vector)."""
    return [
        (info.spec.name, item.id, item.metadata, item.vector.tobytes())
        for info in store.collections()
        for item in store.scroll(info.spec.name, limit=1000, with_vectors=True).items
    ]

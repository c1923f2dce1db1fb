"""What survives: kill -9, a second process, a newer format, a flipped bit."""

import os
import random
import signal
import subprocess
import sys
import time
import zlib

import apsw
import numpy as np
import pytest

from kokeshi.errors import OverloadedError, SetupError, UnavailableError
from kokeshi.index import CollectionSpec, EmbeddedStore, Item, SearchParams, Tuning
from kokeshi.index.restore import restore

SPACE = "0123456789abcdef"

# Writes batches of five rows that carry the batch's number, replaces old ones, deletes some; says
# on a pipe what it is about to do and what was acknowledged.
WRITER = """
import sys
from pathlib import Path
import numpy as np
from kokeshi.index import EmbeddedStore, Item, Tuning
first = int(sys.argv[2])
with EmbeddedStore(Path(sys.argv[1]), Tuning(tail_rows=64)) as store:
    print("open", flush=True)
    for batch in range(first, first + 100_000):
        slot = batch % 40
        vectors = np.random.default_rng(batch).standard_normal((5, 8)).astype(np.float32)
        rows = [Item(f"{slot}.{i}", v, {"batch": batch}) for i, v in enumerate(vectors)]
        print("begin", batch, flush=True)
        if batch % 7 == 0:
            store.delete("faces", [row.id for row in rows])
        else:
            store.upsert("faces", rows, space="0123456789abcdef")
        print("done", batch, flush=True)
"""


def start_writer(directory, first):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory), str(first)],
        stdout=subprocess.PIPE,
        text=True,
    )


def killed_while_writing(directory, first, rng):
    """Runs the writer, kills it at a random moment; the last batches begun and acknowledged."""
    with start_writer(directory, first) as process:
        assert process.stdout.readline() == "open\n"
        early = [process.stdout.readline() for _ in range(rng.randint(1, 60))]
        time.sleep(rng.uniform(0.0, 0.003))
        process.send_signal(signal.SIGKILL)
        late = process.stdout.read().splitlines(keepends=True)
    lines = [line.split() for line in early + late if line.endswith("\n")]
    begun = [int(number) for word, number in lines if word == "begin"]
    done = [int(number) for word, number in lines if word == "done"]
    return begun[-1], max(done, default=first - 1)


def state_of_slots(store):
    """Batch number per slot, None where it was deleted; fails on a batch that is there in part."""
    rows = {item.id: item for item in store.scroll("faces", limit=1000, with_vectors=True).items}
    state = {}
    for slot in range(40):
        parts = [rows.pop(f"{slot}.{i}", None) for i in range(5)]
        batches = {None if part is None else part.metadata["batch"] for part in parts}
        assert len(batches) == 1, f"slot {slot} holds parts of batches {batches}"
        state[slot] = batches.pop()
        if state[slot] is not None:
            vectors = np.random.default_rng(state[slot]).standard_normal((5, 8)).astype(np.float32)
            assert np.stack([part.vector for part in parts]).tobytes() == vectors.tobytes()
    assert not rows
    return state


def test_acknowledged_writes_survive_kill_9_and_others_are_whole_or_absent(tmp_path):
    seed = int(os.environ.get("KOKESHI_TEST_SEED", "7"))
    rng = random.Random(seed)
    with EmbeddedStore(tmp_path) as store:
        store.create(CollectionSpec("faces", SPACE, 8))
    expected = dict.fromkeys(range(40))
    first, acknowledged = 0, 0
    for _ in range(5):
        begun, done = killed_while_writing(tmp_path, first, rng)
        for batch in range(first, done + 1):
            expected[batch % 40] = None if batch % 7 == 0 else batch
        acknowledged += done + 1 - first
        with EmbeddedStore(tmp_path, Tuning(tail_rows=64)) as store:
            state = state_of_slots(store)
            if begun > done and state[begun % 40] == (None if begun % 7 == 0 else begun):
                expected[begun % 40] = state[begun % 40]
            assert state == expected, f"seed {seed}"
            check_search(store, state)
        first = begun + 1
    assert acknowledged > 20, "the writer was killed too early to prove anything"


def check_search(store, state):
    alive = {f"{slot}.{i}" for slot, batch in state.items() if batch is not None for i in range(5)}
    found = store.search("faces", np.ones((1, 8)), SearchParams(1000), space=SPACE).hits[0]
    assert {hit.id for hit in found} == alive


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path):
    with EmbeddedStore(tmp_path) as store:
        store.create(CollectionSpec("faces", SPACE, 8))
        with pytest.raises(SetupError, match="in use"):
            EmbeddedStore(tmp_path)
    with start_writer(tmp_path, 0) as process:
        assert process.stdout.readline() == "open\n"
        with pytest.raises(SetupError, match="in use"):
            EmbeddedStore(tmp_path)
        process.kill()
    with EmbeddedStore(tmp_path) as store:
        assert store.collections()


def filled(directory, names=("faces",), rows=20):
    with EmbeddedStore(directory) as store:
        for name in names:
            store.create(CollectionSpec(name, SPACE, 8))
            vectors = np.random.default_rng(0).standard_normal((rows, 8))
            store.upsert(name, [Item(f"id{i}", v) for i, v in enumerate(vectors)], space=SPACE)
    return directory / "vectors.sqlite"


def test_a_newer_format_is_refused_and_left_as_it_is(tmp_path):
    path = filled(tmp_path)
    database = apsw.Connection(str(path))
    database.execute("UPDATE schema_version SET version = 3")
    database.close()
    before = path.read_bytes()
    with pytest.raises(SetupError, match=r"has format 3.* reads format 2"):
        EmbeddedStore(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"no database at all" * 100, b"SQLite format 3\x00" + bytes(4080)]
)
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path, content):
    path = tmp_path / "vectors.sqlite"
    path.write_bytes(content)
    with pytest.raises(SetupError, match=r"vectors\.sqlite"):
        EmbeddedStore(tmp_path)
    assert path.read_bytes() == content
    path.unlink()
    EmbeddedStore(tmp_path).close()  # the lock was let go


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE vectors SET vector = zeroblob(32)",
        "DELETE FROM vectors",
        "UPDATE vectors SET crc = crc + 1",
        "UPDATE items SET metadata = x'7b7d20'",
        "UPDATE items SET id = 'id77'",
        "UPDATE items SET tenant = 'other'",
        "UPDATE items SET origin = 'fedcba9876543210'",
        "UPDATE items SET seq = seq + 1",
        "UPDATE items SET crc = crc + 1",
    ],
)
def test_a_damaged_row_puts_its_collection_alone_in_quarantine(tmp_path, change):
    path = filled(tmp_path, names=("faces", "other"))
    database = apsw.Connection(str(path))
    row = "(SELECT row FROM items WHERE collection = 1 AND id = 'id7')"
    database.execute(f"{change} WHERE row = {row}")
    database.close()
    with EmbeddedStore(tmp_path) as store:
        for call in (
            lambda: store.search("faces", np.ones((1, 8)), SearchParams(), space=SPACE),
            lambda: store.get("faces", ["id1"]),
            lambda: store.upsert("faces", [Item("a", np.ones(8))], space=SPACE),
        ):
            with pytest.raises(
                UnavailableError, match=r"'faces' is in quarantine: .*(checksum|missing)"
            ):
                call()
        assert "row" in store.describe("faces").quarantine
        found = store.search("other", np.ones((1, 8)), SearchParams(100), space=SPACE)
        assert len(found.hits[0]) == 20
        store.drop("faces")
        store.create(CollectionSpec("faces", SPACE, 8))


@pytest.mark.parametrize("closing_rows", [1, 1000], ids=["from files", "from the database"])
def test_a_row_that_has_gone_puts_its_collection_in_quarantine(tmp_path, closing_rows):
    path = filled(tmp_path, names=("faces", "other"))
    tuning = Tuning(closing_rows=closing_rows)
    EmbeddedStore(tmp_path, tuning).close()
    database = apsw.Connection(str(path))
    database.execute("DELETE FROM items WHERE collection = 1 AND id = 'id7'")
    database.close()
    with EmbeddedStore(tmp_path, tuning) as store:
        assert (store.describe("other").cached_seq is None) == (closing_rows == 1000)
        with pytest.raises(UnavailableError, match="quarantine: has 19 rows, expected 20"):
            store.get("faces", ["id1"])
        assert store.count("other") == 20


def test_damaged_settings_put_the_collection_in_quarantine(tmp_path):
    path = filled(tmp_path, names=("faces", "other"))
    database = apsw.Connection(str(path))
    database.execute(
        "UPDATE collections SET spec = CAST(replace(spec, '8', '9') AS BLOB) WHERE name = 'faces'"
    )
    database.close()
    with EmbeddedStore(tmp_path) as store:
        with pytest.raises(UnavailableError, match="settings"):
            store.get("faces", ["id1"])
        assert len(store.get("other", ["id1"])) == 1
        store.drop("faces")
        assert [info.spec.name for info in store.collections()] == ["other"]


def test_a_bit_that_rots_while_the_store_is_open_is_noticed_when_read(tmp_path):
    path = filled(tmp_path)
    with EmbeddedStore(tmp_path) as store:
        database = apsw.Connection(str(path))
        database.execute(
            "UPDATE vectors SET vector = zeroblob(32)"
            " WHERE row = (SELECT row FROM items WHERE id = 'id7')"
        )
        database.close()
        assert len(store.get("faces", ["id6"])) == 1
        with pytest.raises(UnavailableError, match="checksum"):
            store.get("faces", ["id7"], with_vectors=True)
        with pytest.raises(UnavailableError, match="quarantine"):
            store.get("faces", ["id6"])


def test_durability_os_says_that_it_did_not_wait_for_the_disk(tmp_path):
    with EmbeddedStore(tmp_path) as store:
        store.create(CollectionSpec("fast", SPACE, 8, durability="os"))
        assert not store.upsert("fast", [Item("a", np.ones(8))], space=SPACE).is_fsynced
    with EmbeddedStore(tmp_path) as store:
        assert zlib.crc32(store.get("fast", ["a"], with_vectors=True)[0].vector) == zlib.crc32(
            np.ones(8, np.float32)
        )


def test_a_full_disk_refuses_writes_and_nothing_else(tmp_path):
    with EmbeddedStore(tmp_path) as store:
        store.create(CollectionSpec("faces", SPACE, 8))
        store.upsert("faces", [Item("a", np.ones(8))], space=SPACE)
        pages = store._truth.writing.execute("PRAGMA page_count").get
        store._truth.writing.execute(f"PRAGMA max_page_count = {pages}")
        rows = [Item(f"id{i}", np.ones(8)) for i in range(1000)]
        with pytest.raises(OverloadedError, match="disk is full"):
            store.upsert("faces", rows, space=SPACE)
        found = store.search("faces", np.ones((1, 8)), SearchParams(), space=SPACE)
        assert [hit.id for hit in found.hits[0]] == ["a"]
        store._truth.writing.execute("PRAGMA max_page_count = 1000000")
        assert store.upsert("faces", rows, space=SPACE).count == 1000
        assert store.stats().is_writable


def test_a_database_with_damaged_pages_is_read_but_not_written_to(tmp_path):
    with filled(tmp_path).open("r+b") as file:
        file.seek(36)  # of the header: how many pages are free
        file.write((5).to_bytes(4, "big"))
    with EmbeddedStore(tmp_path) as store:
        assert not store.stats().is_writable
        with pytest.raises(UnavailableError, match=r"writes are refused: .*; restore a backup"):
            store.delete("faces", ["id1"])
        assert len(store.get("faces", ["id1"])) == 1


def test_a_directory_on_a_network_is_taken_only_when_told(tmp_path, monkeypatch):
    monkeypatch.setattr("kokeshi.index.lock.NETWORK_FILE_SYSTEMS", frozenset(file_systems()))
    with pytest.raises(SetupError):
        EmbeddedStore(tmp_path)
    EmbeddedStore(tmp_path, allow_network_files=True).close()


def file_systems():
    with open("/proc/self/mountinfo") as file:
        return [line.partition(" - ")[2].split()[0] for line in file]


def test_a_backup_of_an_open_store_holds_what_was_acknowledged(tmp_path):
    filled(tmp_path / "data")
    with EmbeddedStore(tmp_path / "data") as store:
        assert store.capabilities.snapshots
        store.upsert("faces", [Item("new", np.ones(8))], space=SPACE)
        manifest = store.backup(tmp_path / "kept")
        store.delete("faces", ["new"])
    assert [one.rows for one in manifest.collections] == [21]
    restore(tmp_path / "kept", tmp_path / "again")
    with EmbeddedStore(tmp_path / "again") as store:
        assert store.count("faces") == 21
    with pytest.raises(UnavailableError):
        store.backup(tmp_path / "late")

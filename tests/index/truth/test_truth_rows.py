"""Rows of the database: tenants, numbers that never come back, walks and their checks."""

import functools
import random
import threading

import apsw
import numpy as np
import pytest

from kokeshi.errors import AlreadyExistsError, CollectionNotFoundError, InvalidRequestError
from kokeshi.index.incoming import digest, new_rows
from kokeshi.index.reads import row_span
from kokeshi.index.rows import DamagedRowError
from kokeshi.index.writer import Job


def test_an_id_is_unique_in_a_tenant_and_free_in_the_others(home):
    faces = home.create()
    home.put(faces, [1, 2], tenant="a")
    home.put(faces, [1], tenant="b", version=5)
    home.put(faces, [1], tenant="a", version=7)
    mine = home.truth.by_ids(faces, ["id1", "id2"], tenant="a")
    assert {row.id: (row.tenant, row.metadata) for row in mine.values()} == {
        "id1": ("a", b'{"version":7}'),
        "id2": ("a", b'{"version":0}'),
    }
    assert home.truth.by_ids(faces, ["id1"], tenant="b")["id1"].metadata == b'{"version":5}'
    assert home.truth.by_ids(faces, ["id1"]) == {}
    with pytest.raises(AlreadyExistsError):
        home.put(faces, [1], tenant="b", add_only=True)
    home.put(faces, [1], tenant="c", add_only=True)


def test_a_delete_by_id_touches_no_other_tenant(home):
    faces = home.create()
    for tenant in ("", "a", "b"):
        home.put(faces, range(3), tenant=tenant)
    assert home.delete(faces, [0, 1, 9], tenant="a").count == 2
    left = sorted(home.all_of(faces))
    assert left == [(t, f"id{n}") for t in ("", "a", "b") for n in range(3) if t != "a" or n == 2]


def test_a_delete_by_row_takes_rows_of_its_collection_alone(home):
    faces, other = home.create(), home.create("other")
    written = home.put(faces, range(4))
    foreign = home.put(other, range(2))
    rows = np.concatenate([written.rows[:2], foreign.rows])
    done = home.run(lambda: home.truth.delete_rows(faces, rows))
    assert (done.count, done.seq, list(done.removed)) == (2, 2, list(written.rows[:2]))
    assert home.run(lambda: home.truth.delete_rows(faces, rows)).count == 0
    assert len(home.all_of(other)) == 2


def test_row_numbers_ascend_and_never_come_back(home, new_home):
    faces = home.create()
    seen = []
    for version in range(3):
        written = home.put(faces, range(5), version=version)
        home.delete(faces, range(5))
        seen += written.rows.tolist()
    home.close()
    again = new_home(home.directory)
    seen += again.put(faces, range(5)).rows.tolist()
    assert seen == sorted(set(seen))


def test_numbers_of_collections_never_come_back(home, new_home):
    numbers = [home.create("a"), home.create("b")]
    for number in numbers:
        home.run(lambda number=number: home.truth.drop(number))
    home.close()
    assert new_home(home.directory).create("a") > max(numbers)


def test_a_page_holds_one_tenants_rows_in_the_order_of_writing(home):
    faces = home.create()
    for n in range(30):
        home.put(faces, [n], tenant=("", "a", "b")[n % 3])
    for tenant, first in (("", 0), ("a", 1), ("b", 2)):
        found, after = [], (0, 0)
        while page := home.truth.page(faces, after, 4, tenant=tenant):
            found += [row.id for row in page]
            after = (page[-1].seq, page[-1].row)
        assert found == [f"id{n}" for n in range(first, 30, 3)]
        heads = home.truth.page_heads(faces, (0, 0), 100, tenant=tenant)
        assert [head.id for head in heads] == found


def test_newer_rows_are_those_of_later_writes(home):
    faces, other = home.create(), home.create("other")
    for n in range(20):
        home.put(faces, [3 * n, 3 * n + 1, 3 * n + 2], tenant="a" if n % 2 else "")
        home.put(other, [n])
        home.delete(faces, [3 * n + 1], tenant="a" if n % 2 else "")
    for seq in (0, 1, 2, 17, 39, 40, 99):
        found = [row for chunk in home.truth.newer(faces, seq, 7) for row in chunk]
        expected = [f"id{3 * n + k}" for n in range(20) for k in (0, 2) if 2 * n + 1 > seq]
        assert [row.id for row in found] == expected
        start, _ = row_span(faces)
        last = home.truth.last_up_to(faces, seq)
        rows = home.truth.row_numbers(faces, start, last)
        assert len(rows) + len(found) == 40
        assert home.truth.census(start, last) == (len(rows), int((rows - start).sum()))


def test_the_origin_of_an_item_is_kept_and_checked(home, number):
    faces = home.create()
    rows = new_rows(["a"], [b"{}"], ["fedcba9876543210"], number(1)[None])
    plain = new_rows(["a"], [b"{}"], [""], number(1)[None])
    home.run(lambda: home.truth.upsert(faces, rows, add_only=False))
    assert home.truth.by_ids(faces, ["a"])["a"].item(with_vector=False).origin == (
        "fedcba9876543210"
    )
    assert digest(rows) != digest(plain)
    database = apsw.Connection(str(home.path))
    database.execute("UPDATE items SET origin = ''")
    database.close()
    for read in (home.truth.by_ids, home.truth.heads_by_ids):
        with pytest.raises(DamagedRowError, match="checksum"):
            read(faces, ["a"])


def test_rows_of_one_write_keep_what_they_say_whatever_their_neighbours_say(home):
    faces = home.create()
    rng = random.Random(5)
    ids = [rng.choice(["a", "ünï", "日本", "x" * 256])[: 256 - 4] + f"{n}" for n in range(300)]
    said = [b'{"n":%d,"text":"%s"}' % (n, b"x" * rng.choice([0, 1, 5000])) for n in range(300)]
    origins = [rng.choice(["", "", "fedcba9876543210"]) for _ in range(300)]
    vectors = np.random.default_rng(5).standard_normal((300, 8)).astype(np.float32)
    rows = new_rows(ids, said, origins, vectors)
    home.run(lambda: home.truth.upsert(faces, rows, add_only=False, tenant="shop"))
    found = home.truth.by_ids(faces, ids, tenant="shop")
    told = [(found[i].metadata, found[i].origin, found[i].vector.tobytes()) for i in ids]
    assert told == list(zip(said, origins, map(np.ndarray.tobytes, vectors), strict=True))
    assert [found[i].row for i in ids] == sorted(row.row for row in found.values())


@pytest.mark.parametrize("companions", [0, 2], ids=["alone", "in a group"])
def test_a_write_that_is_refused_half_way_leaves_nothing(home, number, companions):
    faces = home.create()
    rows = new_rows(["a", "b"], [b"{}"] * 2, [""] * 2, np.stack([number(1), number(2)]))

    def refused():
        home.truth.upsert(faces, rows, add_only=False)
        raise InvalidRequestError("after all its rows")

    jobs = [Job(refused, lambda _: None, 2, is_fsynced=True)]
    for n in range(companions):
        work = functools.partial(home.truth.delete, faces, [f"id{n}"])
        jobs.insert(n, Job(work, lambda _: None, 1, is_fsynced=True))
    home.put(faces, range(companions + 1))
    with home.writer.gate:  # they wait together, unless the writer has the first of them already
        for job in jobs:
            home.writer.start(job)
    outcomes = [job.outcome.exception() for job in jobs]
    assert [type(outcome) for outcome in outcomes if outcome] == [InvalidRequestError]
    assert {name for _, name in home.all_of(faces)} == {f"id{companions}"}
    assert home.put(faces, [7]).seq == companions + 2, "a refused write takes no number"


def test_a_damaged_vector_is_no_hindrance_to_its_metadata(home):
    faces = home.create()
    rows = home.put(faces, range(3)).rows
    database = apsw.Connection(str(home.path))
    database.execute("UPDATE vectors SET vector = zeroblob(32) WHERE row = ?", (int(rows[1]),))
    database.close()
    assert len(home.truth.heads_by_rows(faces, rows)) == 3
    with pytest.raises(DamagedRowError, match="checksum"):
        home.truth.by_rows(faces, rows)
    assert len(home.truth.by_rows(faces, rows[:1])) == 1


def test_vectors_that_change_places_are_noticed(home):
    faces = home.create()
    first, second = home.put(faces, range(2)).rows.tolist()
    database = apsw.Connection(str(home.path))
    crc, vector = database.execute("SELECT crc, vector FROM vectors WHERE row = ?", (first,)).get
    database.execute("UPDATE vectors SET crc = ?, vector = ? WHERE row = ?", (crc, vector, second))
    database.close()
    with pytest.raises(DamagedRowError, match="checksum"):
        home.all_of(faces)


def test_damaged_counters_of_a_collection_are_noticed(home):
    home.put(home.create(), range(3))
    database = apsw.Connection(str(home.path))
    stored = home.truth.collections()[0]
    assert (stored.rows, stored.seq) == (3, 1)
    assert stored.read_spec().name == "faces"
    for column in ("seq", "last_row", "rows", "state_crc"):
        database.execute(f"UPDATE collections SET {column} = {column} + 1")
        with pytest.raises(DamagedRowError, match="counters"):
            home.truth.collections()[0].read_spec()
        database.execute(f"UPDATE collections SET {column} = {column} - 1")
    database.close()


def test_request_ids_are_a_tenants_own(home):
    faces = home.create()
    written = home.put(faces, [1], tenant="a")

    def remember():
        home.truth.remember(faces, "once", b"digest", written, 100, tenant="a")

    home.run(remember)
    known = home.run(lambda: home.truth.replayed(faces, "once", b"digest", tenant="a"))
    assert (known.seq, known.count, known.is_replay) == (1, 1, True)
    assert home.run(lambda: home.truth.replayed(faces, "once", b"digest", tenant="b")) is None
    with pytest.raises(InvalidRequestError, match="other items"):
        home.run(lambda: home.truth.replayed(faces, "once", b"another", tenant="a"))


def test_a_dropped_collection_takes_no_more_writes(home):
    faces, other = home.create(), home.create("other")
    home.put(faces, range(3), tenant="a")
    home.put(other, range(3))
    home.run(lambda: home.truth.drop(faces))
    with pytest.raises(CollectionNotFoundError):
        home.put(faces, [1])
    tables = {
        table: home.truth.writing.execute(f"SELECT count(*) FROM {table}").get
        for table in ("collections", "items", "vectors", "requests")
    }
    assert tables == {"collections": 1, "items": 3, "vectors": 3, "requests": 0}


def test_a_long_walk_does_not_hold_the_log(home):
    faces = home.create(dim=2048)
    home.put(faces, range(500), dim=2048)
    walk = home.truth.newer(faces, 0, 10)
    next(walk)
    for version in range(30):
        home.put(faces, range(100), version=version, dim=2048)
    log = home.path.with_name("vectors.sqlite-wal").stat().st_size
    # 24 MB were written meanwhile; the log starts anew every 16 MiB
    assert log < 20 * 2**20
    assert sum(len(chunk) for chunk in walk) >= 400


def test_writers_that_wait_together_share_commits_and_lose_nothing(home):
    faces = home.create()
    started = home.writer.commits

    def write(client):
        for n in range(20):
            home.put(faces, [n], tenant=str(client))

    clients = [threading.Thread(target=write, args=(client,)) for client in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert len(home.all_of(faces)) == 160
    assert home.truth.collections()[0].seq == 160
    assert home.writer.commits - started <= 160

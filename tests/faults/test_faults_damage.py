"""Damaged files: torn tails, flipped bits, truncated and exchanged index files."""

import shutil
from contextlib import suppress

import pytest
from faultkit.damage import answers, copied, cut_off, files_of, filled, flip, is_derived, prefixes
from faultkit.oracle import check, read_all
from faultkit.work import NAME, SPACE, item_of, small_tuning, spec

from kokeshi.errors import KokeshiError, SetupError, UnavailableError
from kokeshi.index import EmbeddedStore

FAMILY = "4, 5 torn and damaged files"
LOG_HEAD, FRAME_HEAD = 32, 24  # bytes, of SQLite's file format


def cuts_of(log, sizes, rng, most):
    """Lengths to cut a log at: each byte of the last frame, each edge of frames and sectors.

    Args:
        log: its bytes.
        sizes: of the log after each write; the last three are torn.
        rng: chooses where there are too many.
        most: how many.
    """
    page = int.from_bytes(log[8:12], "big")
    first, last = sizes[-3], sizes[-1]
    edges = [*range(LOG_HEAD, last + 1, FRAME_HEAD + page), *range(0, last, 512)]
    near = {edge + shift for edge in edges for shift in (-1, 0, 1, 8, 16, FRAME_HEAD)}
    every = {length for length in near if first <= length <= last}
    every |= set(range(last - page - FRAME_HEAD, last + 1))
    return sorted(every) if most >= len(every) else sorted(rng.sample(sorted(every), most))


@pytest.mark.parametrize("tail", ["missing", "zeros", "noise"])
def test_a_torn_tail_of_the_log_costs_no_write_before_it(tmp_path, seed, rng, rounds, tally, tail):
    ledger, sizes = cut_off(tmp_path / "data", tmp_path / "image", seed, 12)
    log = next((tmp_path / "image").glob("*-wal"))
    content, states = log.read_bytes(), prefixes(ledger)
    assert sizes == sorted(sizes)
    lengths = cuts_of(content, sizes, rng, rounds(8, 40_000 if tail == "missing" else 2000))
    for length in lengths:
        copied(tmp_path / "image", tmp_path / "torn")
        rest = sizes[-1] - length
        filler = {"missing": b"", "zeros": bytes(rest), "noise": rng.randbytes(rest)}[tail]
        (tmp_path / "torn" / log.name).write_bytes(content[:length] + filler)
        with EmbeddedStore(tmp_path / "torn", small_tuning()) as store:
            whole = sum(size <= length for size in sizes)
            assert read_all(store) in states[whole:], f"seed {seed}, cut at {length} of {sizes}"
    tally(rounds=len(lengths))


def test_a_flipped_bit_in_an_index_file_is_noticed_and_the_file_rebuilt(
    tmp_path, seed, rng, rounds, tally
):
    ledger = filled(tmp_path / "data", seed)
    derived = [path for path in files_of(tmp_path / "data") if is_derived(path)]
    assert derived, "no index file was written"
    wanted = rounds(2, 100)
    for path in derived:
        for _ in range(wanted):
            copied(tmp_path / "data", tmp_path / "rotten")
            places = flip(tmp_path / "rotten" / path, rng)
            note = f"seed {seed}, bits {places} of {path.name}"
            with EmbeddedStore(tmp_path / "rotten", small_tuning()) as store:
                check(store, [ledger.state], note=note)
                assert store.stats().cache_rejections > 0, f"{note}: not noticed"
                assert store.wait_idle()
            with EmbeddedStore(tmp_path / "rotten", small_tuning()) as store:
                assert store.stats().cache_rejections == 0, f"{note}: not mended"
    tally(rounds=wanted * len(derived))


@pytest.mark.parametrize("log", [False, True], ids=["database", "log"])
def test_a_flipped_bit_in_the_database_never_makes_an_answer_wrong(
    tmp_path, seed, rng, rounds, tally, log
):
    if log:
        ledger, _ = cut_off(tmp_path / "data", tmp_path / "image", seed, 20)
    else:
        ledger = filled(tmp_path / "data", seed)
        copied(tmp_path / "data", tmp_path / "image")
    path = next((tmp_path / "image").glob("*.sqlite-wal" if log else "*.sqlite"))
    # a damaged log cannot be told from one that was torn there
    right = prefixes(ledger) if log else [ledger.state]
    wanted, refused = rounds(25, 4000), 0
    for _ in range(wanted):
        copied(tmp_path / "image", tmp_path / "rotten")
        places = flip(tmp_path / "rotten" / path.name, rng)
        state = answers(tmp_path / "rotten")
        refused += state is None
        assert state is None or state in right, f"seed {seed}, bits {places} of {path.name}"
    tally(rounds=wanted, refused=refused)


def test_the_other_collections_are_served_beside_a_damaged_one(tmp_path, seed):
    with EmbeddedStore(tmp_path, small_tuning()) as store:
        for part, name in enumerate(("faces", "other")):
            store.create(spec(name))
            items = [item_of(seed, number, part, f"id{number}") for number in range(30)]
            store.upsert(name, items, space=SPACE)
    path = next(tmp_path.glob("*.sqlite"))
    vector = item_of(seed, 3, 0, "id3").vector.tobytes()
    assert vector in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(vector, bytes(len(vector))))
    with EmbeddedStore(tmp_path, small_tuning()) as store:
        for name in ("faces", "other"):
            with suppress(UnavailableError):
                store.scroll(name, limit=100)
        quarantined = [info.spec.name for info in store.collections() if info.quarantine]
        assert quarantined == ["faces"]
        assert len(store.scroll("other", limit=100).items) == 30
        store.drop("faces")
        store.create(spec("faces"))


def test_index_files_cut_at_any_length_are_rebuilt(tmp_path, seed, rng, rounds, tally):
    ledger = filled(tmp_path / "data", seed)
    derived = [path for path in files_of(tmp_path / "data") if is_derived(path)]
    wanted = rounds(2, 60)
    for path in derived:
        size = (tmp_path / "data" / path).stat().st_size
        for length in {0, size - 1} | {rng.randrange(size) for _ in range(wanted)}:
            copied(tmp_path / "data", tmp_path / "cut")
            with (tmp_path / "cut" / path).open("r+b") as file:
                file.truncate(length)
            with EmbeddedStore(tmp_path / "cut", small_tuning()) as store:
                note = f"seed {seed}, {path.name} cut to {length} of {size}"
                assert read_all(store) == ledger.state, note
                assert store.stats().cache_rejections > 0, note
    tally(rounds=wanted * len(derived))


def test_index_files_of_another_moment_or_collection_are_not_taken(tmp_path, seed):
    """Files that are whole, but not those of this database."""
    filled(tmp_path / "early", seed, 20)
    copied(tmp_path / "early", tmp_path / "late")
    ledger = filled(tmp_path / "other", seed + 1, 40)
    for donor in ("early", "late"):
        copied(tmp_path / "other", tmp_path / "mixed")
        for path in list(files_of(tmp_path / "mixed")):
            if is_derived(path):
                (tmp_path / "mixed" / path).unlink()
        for path in files_of(tmp_path / donor):
            if is_derived(path):
                (tmp_path / "mixed" / path.parent).mkdir(parents=True, exist_ok=True)
                shutil.copy(tmp_path / donor / path, tmp_path / "mixed" / path)
        with EmbeddedStore(tmp_path / "mixed", small_tuning()) as store:
            check(store, [ledger.state], note=f"seed {seed}, index files of {donor}")


LEFTOVERS = {
    "a half-written file": lambda data: (data / "half.new").write_bytes(b"half"),
    "an unknown folder": lambda data: (data / "notes").mkdir(),
    "an empty file among the index files": lambda data: (
        next(data.rglob("manifest*")).parent.joinpath("x.flat").touch()
    ),
    "an index folder of nobody": lambda data: (data / "indexes" / "99").mkdir(),
    "a file where an index folder would be": lambda data: (data / "indexes" / "77").touch(),
    "a link to nowhere": lambda data: (data / "link").symlink_to(data / "absent"),
    "a journal of old": lambda data: (data / "vectors.sqlite-journal").touch(),
    "an empty log": lambda data: (data / "vectors.sqlite-wal").touch(),
    "a stale shared memory": lambda data: (data / "vectors.sqlite-shm").write_bytes(b"\xff" * 9),
    "no lock file": lambda data: (data / "lock").unlink(),
    "no index files": lambda data: shutil.rmtree(data / "indexes"),
    "a file instead of the index folder": lambda data: (
        shutil.rmtree(data / "indexes"),
        (data / "indexes").write_bytes(b""),
    ),
}


@pytest.mark.parametrize("leave", LEFTOVERS.values(), ids=LEFTOVERS)
def test_leftovers_and_unknown_files_change_nothing(tmp_path, seed, leave):
    ledger = filled(tmp_path, seed, 20)
    leave(tmp_path)
    with EmbeddedStore(tmp_path, small_tuning()) as store:
        check(store, [ledger.state])
        assert store.wait_idle()
    with EmbeddedStore(tmp_path, small_tuning()) as store:
        check(store, [ledger.state])


FOREIGN = {
    "an empty database file": (lambda data: (data / "vectors.sqlite").touch(), False),
    "a folder as database": (lambda data: (data / "vectors.sqlite").mkdir(), True),
    "a text as database": (lambda data: (data / "vectors.sqlite").write_text("x" * 5000), True),
    "a folder as lock": (lambda data: (data / "lock").mkdir(), True),
    "somebody's files": (lambda data: (data / "README").write_text("mine"), False),
}


@pytest.mark.parametrize(("make", "is_refused"), FOREIGN.values(), ids=FOREIGN)
def test_a_directory_that_is_not_ours_is_refused_or_left_in_peace(tmp_path, make, is_refused):
    make(tmp_path)
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()}
    if is_refused:
        with pytest.raises(SetupError, match=str(tmp_path)):
            EmbeddedStore(tmp_path)
    else:
        with EmbeddedStore(tmp_path) as store:
            store.create(spec())
            assert [info.spec.name for info in store.collections()] == [NAME]
        before.pop(tmp_path / "vectors.sqlite", None)
    assert all(path.is_dir() or path.read_bytes() == kept for path, kept in before.items())


def test_a_path_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "data").write_text("mine")
    with pytest.raises(KokeshiError, match="data"):
        EmbeddedStore(tmp_path / "data")
    assert (tmp_path / "data").read_text() == "mine"

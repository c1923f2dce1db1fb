"""Moves of a collection between stores: whole, resumed, under writes, and found out when wrong."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from qdrant_stand_in import skip_without_qdrant

from kokeshi.errors import (
    AlreadyExistsError,
    InvalidRequestError,
    SetupError,
    TooLargeError,
    UnimplementedError,
)
from kokeshi.index import CollectionSpec, EmbeddedStore, Item
from kokeshi.index.comparing import Side, digest_of
from kokeshi.index.migrate import Migration, spec_for
from kokeshi.index.passing import PassingStore

SPACE = "0123456789abcdef"
OTHER = "fedcba9876543210"
DIM = 8
SPEC = CollectionSpec("faces", SPACE, DIM, model="m", dimensions=(4, DIM))
TENANTS = ("", "b")


def item(number, version=0):
    vector = np.random.default_rng([number, version]).standard_normal(DIM).astype(np.float32)
    origin = OTHER if number % 7 == 0 else ""
    metadata = {"number": number, "version": version, "list": [1.0, None, {"é": True}]}
    return Item(f"id{number}", vector, metadata, origin=origin)


def put(store, numbers, version=0, tenant=""):
    store.upsert("faces", [item(n, version) for n in numbers], space=SPACE, tenant=tenant)


@pytest.fixture
def source(tmp_path):
    with EmbeddedStore(tmp_path / "source") as store:
        store.create(SPEC)
        for start in range(0, 60, 15):
            put(store, range(start, start + 15))
        put(store, [3, 40], version=1)
        put(store, range(10), version=5, tenant="b")
        store.delete("faces", ["id7"])
        yield store


@pytest.fixture
def target(tmp_path):
    with EmbeddedStore(tmp_path / "target") as store:
        yield store


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state.json"


@pytest.fixture
def migrate(source, target, state):
    def run(**settings):
        options = {"tenants": TENANTS, "page_rows": 7, **settings}
        return Migration(source, target, "faces", state=state, **options).run()

    return run


def held(store, tenant, name="faces"):
    """What a store has of a tenant, oldest first: ids and fingerprints."""
    pages = Side(store, name, tenant).pages(20, with_vectors=True)
    return [(one.id, digest_of(one, tenant)) for page in pages for one in page]


def check_same(source, target, name="faces"):
    for tenant in TENANTS:
        assert held(target, tenant, name) == held(source, tenant)


def test_a_collection_is_moved_with_all_that_it_holds(source, target, migrate):
    report = migrate()
    assert report.is_same
    assert (report.rows, report.copied, report.removed) == (69, 69, 0)
    assert (report.differences, report.difference_count) == ((), 0)
    check_same(source, target)
    assert target.describe("faces").spec == SPEC
    assert source.describe("faces").count == 69


def test_it_can_be_called_otherwise_at_the_target(source, target, migrate):
    assert migrate(target_name="other").is_same
    check_same(source, target, "other")


def test_a_second_run_copies_what_is_new_alone(source, target, migrate):
    migrate()
    put(source, [100, 101])
    put(source, [5], version=9)
    put(source, [200], tenant="b")
    report = migrate()
    assert report.is_same
    assert report.copied == 4
    check_same(source, target)
    assert migrate().copied == 0


def test_deletes_that_come_while_it_runs_are_followed(source, target, migrate):
    told = []

    def progress(one):
        told.append(one.phase)
        if told.count("copy") == 3 and one.phase == "copy":
            source.delete("faces", ["id1", "id2", "id50"])
        if told.count("compare") == 4 and one.phase == "compare":
            source.delete("faces", ["id4"])
            source.delete("faces", ["id3"], tenant="b")

    report = migrate(progress=progress)
    assert report.is_same
    assert report.removed >= 3
    check_same(source, target)


def test_writes_that_come_while_it_runs_are_followed(source, target, migrate):
    stop = threading.Event()

    def write():
        rng = np.random.default_rng(0)
        version = 10
        while not stop.is_set():
            put(source, rng.choice(90, 3, replace=False).tolist(), version)
            source.delete("faces", [f"id{rng.integers(90)}"])
            version += 1

    pages = []

    def progress(one):
        pages.append(one)
        if len(pages) == 40:
            stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    report = migrate(progress=progress)
    stop.set()
    writer.join()
    if not report.is_same:  # the writer may have outlasted the rounds
        report = migrate()
    assert report.is_same
    assert {one for one, _ in held(target, "")} == {one for one, _ in held(source, "")}
    assert sorted(held(target, "")) == sorted(held(source, ""))


def test_writes_that_never_end_are_not_waited_for_for_ever(source, migrate):
    def progress(one):
        put(source, [1000], version=one.done + progress.count)
        progress.count += 1

    progress.count = 0
    assert not migrate(progress=progress, rounds=2).is_same


def test_progress_and_rate_are_told(migrate):
    told = []
    report = migrate(progress=told.append)
    copied = [one for one in told if one.phase == "copy"]
    compared = [one for one in told if one.phase == "compare"]
    assert max(one.done for one in copied) == max(one.done for one in compared) == 69
    assert all(one.total == 69 and one.rows_per_s > 0 for one in copied if one.done)
    assert report.rows_per_s > 0


KILLED = """
import os, sys
from pathlib import Path
from kokeshi.index import EmbeddedStore
from kokeshi.index.migrate import Migration
from kokeshi.index.migrate_state import State

folder, point, left = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def dying(real, name):
    def call(*args, **options):
        global left
        is_here = point.split(".")[1] == name
        left -= is_here
        if is_here and not left and point.startswith("before"):
            os.kill(os.getpid(), 9)
        value = real(*args, **options)
        if is_here and not left:
            os.kill(os.getpid(), 9)
        return value
    return call

State.save = dying(State.save, "save")
Path.replace = dying(Path.replace, "rename")
with EmbeddedStore(folder / "source") as source, EmbeddedStore(folder / "target") as target:
    target.upsert = dying(target.upsert, "upsert")
    target.ensure = dying(target.ensure, "ensure")
    Migration(
        source, target, "faces", state=folder / "state.json", tenants=("", "b"), page_rows=7
    ).run()
"""


@pytest.mark.parametrize(
    ("point", "count"),
    [("after.ensure", 1), ("before.upsert", 4), ("after.upsert", 4), ("before.save", 5),
     ("before.rename", 6), ("after.save", 6), ("after.upsert", 10)],
)  # fmt: skip
def test_a_migration_that_was_killed_goes_on_where_it_was(tmp_path, point, count):
    folder = tmp_path
    with EmbeddedStore(folder / "source") as source:
        source.create(SPEC)
        put(source, range(60))
        put(source, range(10), tenant="b")
    done = subprocess.run([sys.executable, "-c", KILLED, folder, point, str(count)], check=False)
    assert done.returncode == -9
    with EmbeddedStore(folder / "source") as source, EmbeddedStore(folder / "target") as target:
        put(source, [2], version=7)  # a page that was sent is another one now
        move = Migration(
            source, target, "faces", state=folder / "state.json", tenants=TENANTS, page_rows=7
        )
        report = move.run()
        assert report.is_same
        if count > 4:
            assert report.copied < 71
        assert sorted(held(target, "")) == sorted(held(source, ""))
        assert held(target, "b") == held(source, "b")


def test_a_tampered_row_is_found_named_and_left_alone(target, source, migrate):
    assert migrate().is_same
    put(target, [5], version=99)
    put(target, [6], version=98, tenant="b")
    report = migrate()
    assert not report.is_same
    assert [str(one) for one in report.differences] == [
        "'id5' is different", "'id6' of tenant 'b' is different"
    ]  # fmt: skip
    assert target.get("faces", ["id5"])[0].metadata["version"] == 99
    assert source.get("faces", ["id5"])[0].metadata["version"] == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda one: Item(one.id, one.vector, {**one.metadata, "x": 1}, origin=one.origin),
        lambda one: Item(one.id, one.vector, {**one.metadata, "number": 5.0}, origin=one.origin),
        lambda one: Item(one.id, one.vector, one.metadata, origin=OTHER),
        lambda one: Item(
            one.id, np.nextafter(one.vector, np.float32(2)), one.metadata, origin=one.origin
        ),
    ],
    ids=["metadata", "type", "origin", "last bit"],
)
def test_whatever_is_different_is_found(target, migrate, change):
    migrate()
    target.upsert("faces", [change(item(5))], space=SPACE)
    assert [one.id for one in migrate().differences] == ["id5"]


def test_a_row_that_was_tampered_with_while_it_ran_is_found(target, migrate):
    def progress(one):
        if one.phase == "copy" and one.done == 69:
            put(target, [5], version=99)

    report = migrate(progress=progress)
    assert not report.is_same
    assert [one.id for one in report.differences] == ["id5"]


def test_a_row_that_is_lost_before_the_end_is_copied_again(source, target, migrate):
    def progress(one):
        if one.phase == "copy" and one.done == 69:
            target.delete("faces", ["id5"])

    assert migrate(progress=progress).is_same
    check = {one for one, _ in held(target, "")}
    assert check == {one for one, _ in held(source, "")}


def test_what_users_of_the_target_did_is_named_and_left_alone(source, target, migrate):
    migrate()
    put(target, [500])
    target.delete("faces", ["id5"])
    report = migrate()
    assert not report.is_same
    assert {str(one) for one in report.differences} == {"'id500' is extra", "'id5' is missing"}
    assert target.get("faces", ["id500"])
    assert report.copied == report.removed == 0


def test_repair_makes_the_target_as_the_source_is(source, target, migrate):
    migrate()
    put(target, [500])
    put(target, [6], version=99)
    target.delete("faces", ["id5"])
    assert migrate(repair=True).is_same
    assert sorted(held(target, "")) == sorted(held(source, ""))


def test_the_first_of_many_differences_are_named_and_all_are_counted(target, migrate):
    migrate()
    put(target, range(20, 50), version=99)
    report = migrate()
    assert len(report.differences) == 20
    assert report.difference_count == 30


def test_a_tenant_is_not_left_behind(migrate):
    with pytest.raises(InvalidRequestError, match="10 of the 69 items"):
        migrate(tenants=("",))


def test_tenants_are_found_where_the_source_can_list_them(source, target, state):
    assert Migration(source, target, "faces", state=state).run().is_same
    check_same(source, target)


def test_tenants_have_to_be_named_where_the_source_cannot_list_them(source, target, state):
    class Nameless(PassingStore):
        capabilities = replace(source.capabilities, tenants=False)

        def tenants(self, name, *, limit=0):
            raise UnimplementedError("it keeps no names")

    with pytest.raises(InvalidRequestError, match="tenants that are not named"):
        Migration(Nameless(source), target, "faces", state=state).run()
    named = Migration(Nameless(source), target, "faces", state=state, tenants=TENANTS)
    assert named.run().is_same
    check_same(source, target)


def test_a_target_with_items_of_its_own_is_refused(target, migrate, state):
    target.create(SPEC)
    put(target, [1])
    with pytest.raises(AlreadyExistsError, match="1 items"):
        migrate()
    assert not state.exists()
    assert target.count("faces") == 1


def test_a_state_goes_with_its_migration(migrate, state):
    migrate()
    with pytest.raises(SetupError, match="another migration"):
        migrate(target_name="other")
    with pytest.raises(SetupError, match="another migration"):
        migrate(labels=("here", "there"))
    state.write_bytes(b"{")
    with pytest.raises(SetupError, match="cannot read"):
        migrate()


def test_a_state_is_json_of_cursors_and_numbers(migrate, state):
    migrate()
    values = json.loads(state.read_bytes())
    assert values["was_even"] is True
    assert set(values["tenants"]) == set(TENANTS)
    assert os.listdir(state.parent).count("state.json.new") == 0


def test_an_index_that_the_target_lacks_is_its_own_choice_and_a_metric_is_not(source):
    class Able:
        class capabilities:  # noqa: N801
            metrics = frozenset({"cosine"})
            kinds = frozenset({"auto", "flat"})

    spec = CollectionSpec("a", SPACE, 8, dimensions=(4, 8), index="hnsw", graph_dimension=4)
    made = spec_for(Able, spec, "b")
    assert (made.name, made.index, made.graph_dimension) == ("b", "auto", None)
    with pytest.raises(UnimplementedError, match="l2"):
        spec_for(Able, CollectionSpec("a", SPACE, 8, metric="l2"), "b")


def test_pages_that_are_too_large_for_the_target_are_cut(source, target, migrate, monkeypatch):
    real = target.upsert

    def upsert(name, items, **options):
        if len(items) > 2:
            raise TooLargeError("too large")
        return real(name, items, **options)

    monkeypatch.setattr(target, "upsert", upsert)
    assert migrate().is_same
    check_same(source, target)


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_to_qdrant_and_back_every_bit_is_the_same(tmp_path, metric):
    skip_without_qdrant()
    from kokeshi.index.qdrant import QdrantStore

    spec = CollectionSpec("faces", SPACE, DIM, dimensions=(4, DIM), metric=metric)
    with (
        EmbeddedStore(tmp_path / "first") as first,
        QdrantStore(path=tmp_path / "middle") as middle,
        EmbeddedStore(tmp_path / "last") as last,
    ):
        first.create(spec)
        put(first, range(50))
        put(first, range(5), version=1, tenant="b")
        steps = ((first, middle, TENANTS), (middle, last, None))
        for number, (source, target, tenants) in enumerate(steps):
            move = Migration(
                source, target, "faces", state=tmp_path / f"{number}", tenants=tenants, page_rows=9
            )
            assert move.run().is_same
        check_same(first, middle)
        check_same(first, last)
        assert last.describe("faces").spec == first.describe("faces").spec

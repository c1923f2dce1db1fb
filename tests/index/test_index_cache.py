"""Index files: opened when they can be trusted, rebuilt from the database when not."""

import json
import shutil

import numpy as np
import pytest

from kokeshi.index import CollectionSpec, EmbeddedStore, SearchParams, Tuning
from kokeshi.index.filters import Equals

SPACE = "0123456789abcdef"
SPECS = {
    "flat": CollectionSpec("faces", SPACE, 16, dimensions=(8, 16), index="flat"),
    "codes": CollectionSpec("faces", SPACE, 16, dimensions=(8, 16), index="codes"),
    "hnsw": CollectionSpec("faces", SPACE, 16, dimensions=(8, 16), index="hnsw"),
    "prefix": CollectionSpec(
        "faces", SPACE, 16, dimensions=(8, 16), index="hnsw", graph_dimension=8
    ),
}
FORMS = {"hnsw": "hnsw", "prefix": "hnsw"}
TUNING = Tuning(tail_rows=200, segment_rows=250)
EXACT = SearchParams(10, exact=True)


def made(directory, spec, vectors, fill, batch=200):
    """A closed store whose 600 first rows are in index files, and the files' directory."""
    with EmbeddedStore(directory, TUNING) as store:
        store.create(spec)
        fill(store, "faces", vectors[:600], batch=batch)
        assert store.wait_idle()
        seal(store)
    return next((directory / "indexes").iterdir())


def seal(store):
    """Brings the rows that still grow into files, as a full segment would be."""
    collection = store._collections["faces"]
    collection.seal()
    store._builder.consider(collection)
    assert store.wait_idle()
    assert store.describe("faces").cached_seq == collection.snapshot.seq


def form_of(store):
    """Kind of what was built over the rows; so few are searched without it."""
    form = store._collections["faces"].snapshot.form
    return None if form is None else form.kind


def answers(store, queries, params=EXACT):
    found = store.search("faces", queries, params, space=SPACE)
    return [[(hit.id, hit.score) for hit in hits] for hits in found.hits]


@pytest.mark.parametrize("kind", SPECS)
def test_files_are_opened_and_newer_writes_are_added(tmp_path, clustered, items, fill, kind):
    vectors, queries = clustered(700, 16), clustered(5, 16, seed=1)
    made(tmp_path, SPECS[kind], vectors, fill, batch=600)
    with EmbeddedStore(tmp_path, TUNING) as store:
        store.upsert("faces", items(vectors[600:], first=600), space=SPACE)
        store.delete("faces", ["id3", "id650"])
        store.upsert("faces", items(-vectors[5:6], first=5), space=SPACE)
        assert store.wait_idle()
        before = answers(store, queries)
    with EmbeddedStore(tmp_path, TUNING) as store:
        info = store.describe("faces")
        assert info.cached_seq == info.covered_seq == 1
        assert (info.tail, info.dead) == (100, 2)
        assert (info.seq, info.count) == (4, 698)
        assert form_of(store) == FORMS.get(kind)
        assert info.mapped_bytes == 600 * 16 * 4
        assert store.stats().cache_rejections == 0
        assert answers(store, queries) == before
        assert answers(store, vectors[3:4], SearchParams(1))[0][0][0] != "id3"
        number = SearchParams(1, filter=Equals("number", 77))
        assert answers(store, queries[:1], number)[0][0][0] == "id77"


def test_vectors_leave_the_memory_once_they_are_in_a_file(tmp_path, clustered, fill):
    vectors = clustered(600, 16)
    with EmbeddedStore(tmp_path, Tuning(segment_rows=10_000)) as store:
        store.create(SPECS["codes"])
        fill(store, "faces", vectors)
        before = store.describe("faces")
        seal(store)
        after = store.describe("faces")
        assert (before.mapped_bytes, after.mapped_bytes) == (0, vectors.nbytes)
        assert after.memory_bytes == before.memory_bytes - vectors.nbytes
        matrix = store._collections["faces"].snapshot.sealed[0].block.matrix
        with pytest.raises(ValueError, match="read-only"):
            matrix[0, 0] = 1


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
def test_a_damaged_file_is_made_again_and_answers_stay_right(
    tmp_path, clustered, fill, kind, damage
):
    vectors, queries = clustered(600, 16), clustered(5, 16, seed=1)
    files = made(tmp_path / "good", SPECS[kind], vectors, fill)
    with EmbeddedStore(tmp_path / "good", TUNING) as store:
        right = answers(store, queries)
    rng = np.random.default_rng(0)
    for name in sorted(path.name for path in files.iterdir()):
        shutil.rmtree(tmp_path / "bad", ignore_errors=True)
        shutil.copytree(tmp_path / "good", tmp_path / "bad")
        hurt(tmp_path / "bad" / "indexes" / files.name / name, damage, rng)
        with EmbeddedStore(tmp_path / "bad", TUNING) as store:
            is_missing_manifest = (name, damage) == ("manifest.json", "remove")
            assert store.stats().cache_rejections == (0 if is_missing_manifest else 1), name
            assert answers(store, queries) == right, name
            assert store.wait_idle()
            assert answers(store, queries) == right, name
            seal(store)
        with EmbeddedStore(tmp_path / "bad", TUNING) as store:
            assert store.stats().cache_rejections == 0, name
            assert form_of(store) == FORMS.get(kind)


def hurt(path, damage, rng):
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    elif damage == "truncate":
        del content[rng.integers(len(content)) :]
    elif damage == "empty":
        content.clear()
    if damage == "remove":
        path.unlink()
    else:
        path.write_bytes(content)


def test_a_lost_file_of_which_rows_were_deleted_is_made_again_without_them(
    tmp_path, clustered, fill
):
    vectors = clustered(600, 16)
    files = made(tmp_path, SPECS["hnsw"], vectors, fill)
    with EmbeddedStore(tmp_path, TUNING) as store:
        store.delete("faces", ["id3", "id4", "id250"])
        right = answers(store, vectors[:5], SearchParams(600, exact=True))
    next(files.glob("*.segment")).unlink()
    with EmbeddedStore(tmp_path, TUNING) as store:
        assert store.describe("faces").count == 597
        assert store.wait_idle()
        assert answers(store, vectors[:5], SearchParams(600, exact=True)) == right
        assert len(answers(store, vectors[:1], SearchParams(597))[0]) == 597


def test_files_of_another_collection_or_format_are_not_opened(tmp_path, clustered, fill):
    vectors = clustered(600, 16)
    files = made(tmp_path / "a", SPECS["flat"], vectors, fill)
    other = CollectionSpec("faces", "f" * 16, 16, dimensions=(8, 16), index="flat")
    with EmbeddedStore(tmp_path / "b", TUNING) as store:
        store.create(other)
    shutil.copytree(files, tmp_path / "b" / "indexes" / "1")
    with EmbeddedStore(tmp_path / "b", TUNING) as store:
        assert store.stats().cache_rejections == 1
        query = vectors[:1]
        assert store.search("faces", query, SearchParams(), space="f" * 16).hits == ((),)


def test_files_of_an_older_format_are_swept_and_made_anew(tmp_path, clustered, fill):
    vectors = clustered(600, 16)
    files = made(tmp_path, SPECS["flat"], vectors, fill)
    rewrite(files, lambda body: body | {"format": 1})
    (files / "0a1b2c3d.flat").write_text("of another format")
    with EmbeddedStore(tmp_path, TUNING) as store:
        assert store.stats().cache_rejections == 1
        assert answers(store, vectors[:1])[0][0][0] == "id0"
        seal(store)
    assert read_manifest(files)["format"] == 2
    assert not list(files.glob("*.flat"))


def read_manifest(files):
    return json.loads((files / "manifest.json").read_bytes().partition(b"\n")[2])


def rewrite(files, change):
    import hashlib

    encoded = json.dumps(change(read_manifest(files))).encode()
    seal = hashlib.sha256(encoded).hexdigest().encode()
    (files / "manifest.json").write_bytes(seal + b"\n" + encoded)


def test_files_ahead_of_the_database_are_not_opened(tmp_path, clustered, fill, items):
    vectors = clustered(900, 16)
    made(tmp_path / "old", SPECS["flat"], vectors, fill)
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    with EmbeddedStore(tmp_path / "new", TUNING) as store:
        store.upsert("faces", items(vectors[600:], first=600), space=SPACE)
        seal(store)
    # what a power loss leaves of durability "os": newer index files, an older database
    shutil.rmtree(tmp_path / "old" / "indexes")
    shutil.copytree(tmp_path / "new" / "indexes", tmp_path / "old" / "indexes")
    with EmbeddedStore(tmp_path / "old", TUNING) as store:
        assert store.stats().cache_rejections == 1
        assert store.describe("faces").count == 600
        ids = {hit[0] for hit in answers(store, vectors[700:701], SearchParams(600))[0]}
        assert ids == {f"id{i}" for i in range(600)}


def test_leftovers_are_swept(tmp_path, clustered, fill, items):
    vectors = clustered(900, 16)
    files = made(tmp_path, SPECS["hnsw"], vectors, fill)
    (files / "manifest.json.new").write_text("half")
    (files / "deadbeef.segment").write_text("half")
    (tmp_path / "indexes" / "99").mkdir()
    with EmbeddedStore(tmp_path, TUNING) as store:
        assert not (tmp_path / "indexes" / "99").exists()
        store.upsert("faces", items(vectors[600:], first=600), space=SPACE)
        assert store.wait_idle()
        body = read_manifest(files)
        named = {f"{entry['token']}.segment" for entry in body["segments"]}
        assert {path.name for path in files.iterdir()} == {
            "manifest.json",
            f"{body['form']['token']}.form",
            *named,
        }
        store.drop("faces")
        assert not files.exists()


@pytest.mark.parametrize("kind", SPECS)
def test_a_store_that_closes_leaves_files_of_its_newest_rows(
    tmp_path, clustered, items, fill, kind
):
    vectors, queries = clustered(700, 16), clustered(5, 16, seed=1)
    tuning = Tuning(tail_rows=200, segment_rows=1000, closing_rows=100)
    with EmbeddedStore(tmp_path, tuning) as store:
        store.create(SPECS[kind])
        fill(store, "faces", vectors[:300], batch=300)
        store.delete("faces", ["id7"])
    for start in (300, 400):
        with EmbeddedStore(tmp_path, tuning) as store:
            info = store.describe("faces")
            assert info.cached_seq == info.seq - 1  # the delete came last
            assert len(store._collections["faces"].snapshot.sealed) == 1
            store.upsert("faces", items(vectors[start : start + 100], first=start), space=SPACE)
            store.delete("faces", [f"id{start}"])
            assert store.wait_idle()
            before = answers(store, queries)
    with EmbeddedStore(tmp_path, tuning) as store:
        info = store.describe("faces")
        assert len(store._collections["faces"].snapshot.sealed) == 1
        assert (info.count, info.tail) == (497, 0 if kind in {"flat", "codes"} else 200)
        assert info.mapped_bytes == 500 * 16 * 4
        assert answers(store, queries) == before


def test_a_few_rows_are_not_worth_a_file(tmp_path, clustered, fill):
    for start in range(3):
        with EmbeddedStore(tmp_path) as store:
            store.ensure(SPECS["flat"])
            assert store.count("faces") == 10 * start
            fill(store, "faces", clustered(10 * (start + 1), 16))
    assert not (tmp_path / "indexes").exists()

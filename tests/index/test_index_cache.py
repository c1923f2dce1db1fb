"""Index files: opened when they can be trusted, rebuilt from the database when not."""

import json
import shutil

import numpy as np
import pytest

from kokeshi.index import CollectionSpec, EmbeddedStore, SearchParams, Tuning

SPACE = "0123456789abcdef"
SPECS = {
    "flat": CollectionSpec("faces", SPACE, 16, dimensions=(8, 16), index="flat"),
    "hnsw": CollectionSpec("faces", SPACE, 16, dimensions=(8, 16), index="hnsw"),
    "prefix": CollectionSpec(
        "faces", SPACE, 16, dimensions=(8, 16), index="hnsw", graph_dimension=8
    ),
}
TUNING = Tuning(tail_rows=200)
EXACT = SearchParams(10, exact=True)


def made(directory, spec, vectors, fill):
    """A closed store whose 600 first rows are in index files, and the files' directory."""
    with EmbeddedStore(directory, TUNING) as store:
        store.create(spec)
        fill(store, "faces", vectors[:600])
        assert store.wait_idle()
        fill(store, "faces", vectors[:0])
        assert store.describe("faces").cached_seq == 1
    return next((directory / "indexes").iterdir())


def answers(store, queries, params=EXACT):
    found = store.search("faces", queries, params, space=SPACE)
    return [[(hit.id, hit.score) for hit in hits] for hits in found.hits]


@pytest.mark.parametrize("kind", SPECS)
def test_an_index_file_is_opened_and_newer_writes_are_added(tmp_path, clustered, items, fill, kind):
    vectors, queries = clustered(700, 16), clustered(5, 16, seed=1)
    made(tmp_path, SPECS[kind], vectors, fill)
    with EmbeddedStore(tmp_path, TUNING) as store:
        store.upsert("faces", items(vectors[600:], first=600), space=SPACE)
        store.delete("faces", ["id3", "id650"])
        store.upsert("faces", items(-vectors[5:6], first=5), space=SPACE)
        assert store.wait_idle()
        before = answers(store, queries)
    with EmbeddedStore(tmp_path, TUNING) as store:
        info = store.describe("faces")
        assert (info.covered_seq, info.cached_seq) == (1, 1)
        assert (info.tail, info.dead, info.count, info.seq) == (100, 2, 698, 4)
        assert info.kind == ("flat" if kind == "flat" else "hnsw")
        assert store.stats().cache_rejections == 0
        assert answers(store, queries) == before
        assert answers(store, vectors[3:4], SearchParams(1))[0][0][0] != "id3"


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
def test_a_damaged_file_is_rebuilt_and_answers_stay_right(tmp_path, clustered, fill, kind, damage):
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
            assert store.describe("faces").cached_seq == 1, name
        with EmbeddedStore(tmp_path / "bad", TUNING) as store:
            assert store.stats().cache_rejections == 0, name


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


def test_files_ahead_of_the_database_are_not_opened(tmp_path, clustered, fill, items):
    vectors = clustered(900, 16)
    made(tmp_path / "old", SPECS["flat"], vectors, fill)
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    with EmbeddedStore(tmp_path / "new", TUNING) as store:
        store.upsert("faces", items(vectors[600:], first=600), space=SPACE)
        assert store.wait_idle()
        assert store.describe("faces").cached_seq == 2
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
    files = made(tmp_path, SPECS["flat"], vectors, fill)
    (files / "manifest.json.new").write_text("half")
    (files / "deadbeef.flat").write_text("half")
    (tmp_path / "indexes" / "99").mkdir()
    with EmbeddedStore(tmp_path, TUNING) as store:
        assert not (tmp_path / "indexes" / "99").exists()
        store.upsert("faces", items(vectors[600:], first=600), space=SPACE)
        assert store.wait_idle()
        named = json.loads((files / "manifest.json").read_bytes().partition(b"\n")[2])["files"]
        assert {path.name for path in files.iterdir()} == {"manifest.json", *named}
        store.drop("faces")
        assert not files.exists()

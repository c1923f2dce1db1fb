"""Maps, migrations and rotations between collections that every kind of store keeps."""

import numpy as np
import pytest

from kokeshi.errors import InvalidRequestError, NotFoundError, SpaceMismatchError
from kokeshi.service.inputs import Image
from kokeshi.service.retrieval.records import MapOptions, Question, RotateOptions
from kokeshi.service.types import NewItem, OnConflict

OLD, NEW = "digits_mrl", "digits"


@pytest.fixture
def both(kept, digits, stored):
    """A map from `digits` into the space of `same`, a collection of the same items."""
    if "mapped" not in kept.made:
        kept.embed("same", NEW, stored)
        options = MapOptions(other="same", least_recall=0.3)
        kept.made["mapped"] = kept.run(kept.service.retrieval.fit_map(digits, options))
    return kept.made["mapped"]


def again(digits):
    """Items as a client sends them to be embedded by the collection's own model."""
    rows = zip(digits.ids, digits.pictures, digits.metadata, strict=True)
    return [NewItem(key, picture, told) for key, picture, told in rows]


def test_a_map_is_measured_on_held_out_queries(both, stored):
    assert both.count == len(stored)
    assert (both.source, both.target) == (stored.spaces[OLD], stored.spaces[NEW])
    assert 0.3 < both.recall <= 1


def test_a_map_that_finds_too_little_is_refused(kept, both):
    options = MapOptions(other="same", least_recall=0.999)
    with pytest.raises(InvalidRequestError, match=r"held-out queries, and 0\.999 is asked for"):
        kept.run(kept.service.retrieval.fit_map("digits", options))


def test_a_collection_moves_to_another_model_item_by_item_and_its_alias_at_the_end(
    kept, both, stored, asked
):
    service, retrieval = kept.service, kept.service.retrieval
    kept.run(service.create_collection("newer", NEW))
    early = stored.rows(0, 20)  # its own vectors, which no map may replace
    kept.embed("newer", NEW, early)
    started = kept.run(retrieval.start_migration("digits", "newer"))
    assert (started.state, started.total) == ("running", 300)
    told = kept.transferred("newer")
    assert (told.state, told.read, told.written) == ("done", 300, 280)
    assert told.native_share == pytest.approx(20 / 300)
    own, mapped = kept.run(
        service.get_items("newer", [stored.ids[0], stored.ids[20]], with_vectors=True)
    )
    np.testing.assert_array_equal(own.vector, stored.vectors[NEW][0])
    assert (own.origin, mapped.origin) == ("", stored.spaces[OLD])
    assert (mapped.vector != stored.vectors[NEW][20]).any()
    with pytest.raises(InvalidRequestError, match="are asked for"):
        kept.run(retrieval.finish_migration("newer", "numbers", least_native_share=0.2))
    lazily = again(stored.rows(20, 100))
    kept.run(service.add_items("newer", lazily, on_conflict=OnConflict.REPLACE))
    told = kept.run(retrieval.finish_migration("newer", "numbers", least_native_share=0.2))
    assert (told.alias, told.native_share) == ("numbers", pytest.approx(1 / 3))
    assert kept.run(service.describe_collection("numbers")).name == "newer"
    right = [
        kept.run(retrieval.vote("numbers", Question(picture, k=20))).label == label
        for picture, label in zip(asked.pictures[:10], asked.labels, strict=False)
    ]
    assert sum(right) >= 8


def test_a_transfer_goes_on_after_a_stop(kept, both):
    retrieval = kept.service.retrieval
    kept.run(kept.service.create_collection("stopped", NEW))
    kept.run(retrieval.start_migration("digits", "stopped"))
    kept.run(retrieval._transfers.close())
    kept.run(retrieval.start())
    told = kept.transferred("stopped")
    assert (told.state, told.read, told.native_share) == ("done", 300, 0)
    assert kept.run(kept.service.count_items("stopped")) == 300


def test_without_a_map_nothing_moves_or_crosses(kept, both, stored, asked):
    kept.embed("unmapped", NEW, stored.rows(0, 5))
    with pytest.raises(SpaceMismatchError, match="fit one with direction 'items'"):
        kept.run(kept.service.retrieval.start_migration("unmapped", "digits"))
    with pytest.raises(NotFoundError, match="nothing was transferred"):
        kept.run(kept.service.retrieval.describe_transfer("unmapped"))
    with pytest.raises(SpaceMismatchError):
        kept.run(kept.service.search("unmapped", [asked.pictures[0]], model=OLD))


def test_queries_of_a_newer_model_search_an_old_collection(kept, both, asked):
    options = MapOptions(other="same", direction="queries", least_recall=0.3)
    told = kept.run(kept.service.retrieval.fit_map("digits", options))
    assert told.recall > 0.3
    found = kept.run(kept.service.search("digits", [asked.pictures[0]], k=5, model=NEW))
    assert found.results[0][0].metadata["label"] == asked.labels[0]


def test_a_rotated_collection_orders_its_dimensions_and_finds_the_same(kept, both, asked):
    options = RotateOptions(name="turned", settings={"items_per_dimension": 1.0})
    told = kept.run(kept.service.retrieval.rotate("same", options))
    done = kept.transferred("turned")
    assert (done.state, done.written, done.native_share) == ("done", 300, 1)
    shares = [told.energy[length] for length in sorted(told.energy)]
    assert shares == sorted(shares)
    queries: list[Image] = asked.pictures[:3]
    plain, turned = (
        kept.run(kept.service.search(name, queries, k=10)) for name in ("same", "turned")
    )
    for before, after in zip(plain.results, turned.results, strict=True):
        assert [hit.id for hit in before] == [hit.id for hit in after]
        np.testing.assert_allclose(
            [hit.score for hit in before], [hit.score for hit in after], atol=1e-5
        )
    short = kept.run(kept.service.search("turned", queries, k=1, dimension=8))
    assert [hits[0].metadata["label"] for hits in short.results] == asked.labels[:3]

"""What is large is read and written on a thread, so that the others are answered meanwhile."""

import threading

import numpy as np
import pytest

from kokeshi.gateway.aside import LARGE_BYTES, aside, found_bytes, segmented_bytes
from kokeshi.service.types import (
    Found,
    Hit,
    ModelRef,
    Polygon,
    Region,
    RunLengths,
    Segmentation,
    Segmented,
)
from kokeshi.v1 import collections_pb2


def _found(count, vector=None, kind=Hit):
    hits = [kind(f"item-{i}", 0.5, {"label": "cat"}, vector) for i in range(count)]
    return Found([[], hits], "space", 4, True)


async def test_what_is_large_is_done_on_a_thread_and_what_is_small_at_once():
    here = threading.get_ident()
    assert await aside(LARGE_BYTES - 1, threading.get_ident) == here
    assert await aside(LARGE_BYTES, threading.get_ident) != here


def test_the_size_of_a_search_counts_hits_and_vectors():
    assert found_bytes(_found(10)) < LARGE_BYTES <= found_bytes(_found(5_000))
    assert found_bytes(_found(300, np.zeros(1024, np.float32))) >= LARGE_BYTES


def test_the_size_of_masks_counts_runs_and_points():
    def size(**mask):
        region = Region("cat", 1, 1, 0.5, **mask)
        return segmented_bytes(Segmented(ModelRef("m", 1), [Segmentation(1, 1, [region])]))

    assert size() == 0
    assert size(rle=RunLengths(1, 1, [1] * 300_000)) >= LARGE_BYTES
    assert size(polygons=[Polygon(np.zeros((150_000, 2), np.float32))]) >= LARGE_BYTES


@pytest.mark.parametrize("door", ["http", "grpc"])
@pytest.mark.parametrize("hits", [10, 5_000])
async def test_many_hits_are_written_away_from_the_event_loop(both, door, hits):
    writers = set()

    class Watched(Hit):
        def __getattribute__(self, name):
            if name == "id":
                writers.add(threading.get_ident())
            return super().__getattribute__(name)

    class Full(type(both.service)):
        async def search(self, *args, **kwargs):
            return _found(hits, kind=Watched)

    both.service.__class__ = Full
    if door == "http":
        path = "/v1/collections/c/search"
        response = await both.http.post(path, json={"queries": [{"text": "red"}]})
        written = response.json()["results"][1]["hits"]
    else:
        request = collections_pb2.SearchRequest(collection="c")
        written = (await both.collections.Search(request)).results[1].hits
    assert len(written) == hits
    assert (threading.get_ident() in writers) is (hits == 10)

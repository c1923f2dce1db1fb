"""Qdrant, both ways, for the contract of stores."""

import contextlib
from pathlib import Path

import pytest
from qdrant_stand_in import StandIn, skip_without_qdrant


@contextlib.contextmanager
def local(directory: Path):
    from kokeshi.index.qdrant import QdrantStore

    with QdrantStore(path=":memory:") as store:
        yield store


@contextlib.contextmanager
def behind_grpc(directory: Path):
    from kokeshi.index.qdrant import QdrantStore

    server = StandIn(directory)
    server.start()
    try:
        with QdrantStore(**server.settings) as store:
            yield store
    finally:
        server.kill()


STORES = {"local": local, "grpc": behind_grpc}


@pytest.fixture(scope="module", params=STORES)
def opened(request, tmp_path_factory):
    """One store for all tests of a file."""
    skip_without_qdrant()
    with STORES[request.param](tmp_path_factory.mktemp("contract") / request.param) as store:
        yield store

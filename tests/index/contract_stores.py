"""The stores that the contract is run on, each opened once for all tests of a file."""

import contextlib
import importlib.util
import sys
from pathlib import Path

import pytest
from contract import Subject
from server_process import ServerProcess

from kokeshi.index import EmbeddedStore


class LiteServer(ServerProcess):
    """milvus-lite."""

    @property
    def uri(self):
        return f"http://127.0.0.1:{self.port}"

    def command(self):
        program = Path(sys.executable).with_name("milvus-lite")
        address = ["--host", "127.0.0.1", "--port", str(self.port)]
        return [program, "server", "--data-dir", self._directory, *address]


def skip_without_milvus():
    for package in ("pymilvus", "milvus_lite"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"NOT TESTED: the package {package} is not installed")


@contextlib.contextmanager
def embedded(directory: Path):
    with EmbeddedStore(directory) as store:
        yield store


@contextlib.contextmanager
def milvus(directory: Path):
    skip_without_milvus()
    from kokeshi.index.milvus import MilvusStore

    server = LiteServer(directory)
    server.start()
    try:
        with MilvusStore(server.uri) as store:
            yield store
    finally:
        server.kill()


STORES = {"embedded": embedded, "milvus": milvus}


@pytest.fixture(scope="module", params=STORES)
def opened(request, tmp_path_factory):
    """One store for all tests of a file."""
    with STORES[request.param](tmp_path_factory.mktemp("contract") / request.param) as store:
        yield store


@pytest.fixture(scope="module")
def shared_subject(opened):
    """For collections that several tests read."""
    made = Subject(opened)
    yield made
    made.clean()


@pytest.fixture
def subject(opened):
    made = Subject(opened)
    yield made
    made.clean()

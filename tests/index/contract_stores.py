"""The stores that the contract is run on, each opened once for all tests of a file."""

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from contract import Subject

from kokeshi.index import EmbeddedStore

START_S = 60.0


class LiteServer:
    """A milvus-lite server in a process of its own, that can be killed and started again."""

    def __init__(self, directory: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._directory = directory
        self._process = None

    @property
    def uri(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        program = Path(sys.executable).with_name("milvus-lite")
        with open(self._directory.with_suffix(".log"), "ab") as log:
            self._process = subprocess.Popen(
                [program, "server", "--data-dir", self._directory, "--host", "127.0.0.1",
                 "--port", str(self.port)],
                stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            assert self._process.poll() is None, "milvus-lite ended"
            time.sleep(0.05)
        raise AssertionError("milvus-lite did not start")

    def kill(self):
        """As a power cut would, but for what the operating system already has."""
        self._process.kill()
        self._process.wait()


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

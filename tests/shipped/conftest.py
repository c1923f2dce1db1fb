"""A real server process on the shipped models, as `make serve` starts it."""

import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from kokeshi.v1 import collections_pb2_grpc, server_pb2_grpc, vision_pb2_grpc

ROOT = Path(__file__).parents[2]


@dataclass
class Server:
    """A running server and a gRPC channel to it."""

    http: str
    grpc: str
    channel: grpc.Channel
    process: subprocess.Popen

    @property
    def vision(self):
        return vision_pb2_grpc.VisionStub(self.channel)

    @property
    def collections(self):
        return collections_pb2_grpc.CollectionsStub(self.channel)

    @property
    def server(self):
        return server_pb2_grpc.ServerStub(self.channel)


def start(data: Path, *flags: str) -> Server:
    """Starts `kokeshi serve` on free ports and waits until its models answer."""
    command = [sys.executable, "-m", "kokeshi", "serve", "--data", str(data)]
    command += ["--repository", str(ROOT / "model_repository")]
    command += ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--log-level", "WARNING", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if found := re.search(r"http://(\S+)\s+grpc://(\S+)", line):
            _wait_until_ready(found[1])
            return Server(found[1], found[2], grpc.insecure_channel(found[2]), process)
    raise AssertionError(f"the server ended with {process.wait()}")


def _wait_until_ready(http: str) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://{http}/v1/health/ready"):
                return
        except urllib.error.HTTPError as error:
            error.close()
            time.sleep(0.05)
    raise AssertionError("the models never became ready")


def stop(server: Server) -> None:
    """Ends it as an orchestrator does."""
    server.channel.close()
    server.process.terminate()
    assert server.process.wait(40) == 0
    server.process.stdout.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the whole run."""
    running = start(tmp_path_factory.mktemp("data"))
    yield running
    stop(running)


@pytest.fixture
def start_server():
    """`start`, for tests that need a server of their own."""
    return start

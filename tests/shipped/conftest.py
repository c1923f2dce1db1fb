"""A real server process on the shipped models, as `make serve` starts it."""

import re
import subprocess
import sys
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
    """Starts `kokeshi serve` on free ports and waits for its doors."""
    command = [sys.executable, "-m", "kokeshi", "serve", "--data", str(data)]
    command += ["--repository", str(ROOT / "model_repository")]
    command += ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--log-level", "WARNING", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if found := re.search(r"http://(\S+)\s+grpc://(\S+)", line):
            channel = grpc.insecure_channel(found[2])
            return Server(found[1], found[2], channel, process)
    raise AssertionError(f"the server ended with {process.wait()}")


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

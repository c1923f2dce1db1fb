"""Kokeshi's server in a process of its own, asked over gRPC."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
from peers import kokeshi_store
from peers.peer import K, Searching, Settings, Vectors

from kokeshi.v1 import collections_pb2, collections_pb2_grpc, inputs_pb2

START_S = 60.0
FLOAT32 = inputs_pb2.Tensor.DATA_TYPE_FLOAT32


class Contestant(Searching):
    """See `Peer`. Dials: fields of a `SearchRequest`. The store is filled before the server starts,
    which searches it with its own thresholds."""

    def build(self, rows: Vectors, folder: Path, settings: Settings) -> dict[str, Any]:
        filler = kokeshi_store.Contestant()
        notes = filler.build(rows, folder, settings)
        filler.close()
        self.open(folder, settings)
        return notes

    def open(self, folder: Path, settings: Settings) -> None:
        command = [sys.executable, "-m", "kokeshi", "serve", "--data", folder / "data"]
        command += ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--log-level", "WARNING"]
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        found = re.search(r"http://(\S+)\s+grpc://(\S+)", line)
        assert found, "the server did not open its doors"
        _wait_until_ready(f"http://{found[1]}/v1/health/ready")
        self.channel = grpc.insecure_channel(found[2])
        self.stub = collections_pb2_grpc.CollectionsStub(self.channel)

    def searcher(self, dial: dict[str, Any]) -> Callable[[Vectors], Sequence[int]]:
        def find(query: Vectors) -> Sequence[int]:
            tensor = inputs_pb2.Tensor(data_type=FLOAT32, shape=query.shape, data=query.tobytes())
            request = collections_pb2.SearchRequest(
                collection=kokeshi_store.NAME,
                queries=[inputs_pb2.Input(tensor=tensor)],
                k=K,
                space=kokeshi_store.SPACE,
                **dial,
            )
            return [int(hit.id) for hit in self.stub.Search(request).results[0].hits]

        return find

    def tell(self) -> dict[str, Any]:
        wanted = collections_pb2.DescribeCollectionRequest(name=kokeshi_store.NAME)
        told = self.stub.DescribeCollection(wanted)
        return {"index": told.index_in_use, "rows": told.count, "tail": told.tail}

    def close(self) -> None:
        self.channel.close()
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()


def _wait_until_ready(url: str) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise TimeoutError(f"the server is not ready after {START_S} s")

"""milvus-lite as a server of its own process, asked by pymilvus over gRPC."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from peers.peer import Ingesting, K, Searching, Settings, Vectors, shares_of
from pymilvus import DataType, MilvusClient

NAME = "benchmark"
BATCH = 1000
START_S = 60.0
TIMEOUT_S = 3600.0


class Contestant(Searching, Ingesting):
    """See `Peer`. The setting `index` is "FLAT" or "HNSW"; the dial `ef` of the latter."""

    def build(self, rows: Vectors, folder: Path, settings: Settings) -> dict[str, Any]:
        self._start(folder)
        self._create(settings)
        shares = shares_of(settings, len(rows))
        start = time.perf_counter()
        for first in range(0, len(rows), BATCH):
            self.client.insert(NAME, _batch(rows[first : first + BATCH], shares, first))
        self.client.flush(NAME)
        ingest_s = time.perf_counter() - start
        self._index(settings)
        return {"ingest_s": round(ingest_s, 3)}

    def _start(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        program = Path(sys.executable).with_name("milvus-lite")
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, "server", "--data-dir", folder / "data", "--host", "127.0.0.1",
                 "--port", str(port)],
                stdout=log, stderr=log, env=os.environ,
            )  # fmt: skip
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.05)
        self.client = MilvusClient(f"http://127.0.0.1:{port}", timeout=TIMEOUT_S)

    def _create(self, settings: Settings) -> None:
        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=settings["lengths"][-1])
        schema.add_field("share", DataType.INT64)
        self.client.create_collection(NAME, schema=schema)

    def _index(self, settings: Settings) -> None:
        params = self.client.prepare_index_params()
        kind = settings["index"]
        graph = {"M": settings["links"], "efConstruction": settings["construction"]}
        params.add_index(
            "vector", index_type=kind, metric_type="IP", params=graph if kind == "HNSW" else {}
        )
        self.client.create_index(NAME, params)
        self.client.load_collection(NAME)

    def open(self, folder: Path, settings: Settings) -> None:
        self._start(folder)
        self.client.load_collection(NAME)

    def searcher(self, dial: dict[str, Any]) -> Callable[[Vectors], Sequence[int]]:
        params = {"metric_type": "IP", "params": {"ef": dial["ef"]} if "ef" in dial else {}}
        wanted = f"share < {dial['below']}" if "below" in dial else ""

        def find(query: Vectors) -> Sequence[int]:
            found = self.client.search(
                NAME, query[None], limit=K, filter=wanted, search_params=params
            )
            return [hit["id"] for hit in found[0]]

        return find

    def ingest(self, rows: Vectors, folder: Path, settings: Settings, size: int) -> list[float]:
        self._start(folder)
        self._create(settings)
        shares = shares_of(settings, len(rows))
        seconds = []
        for first in range(0, len(rows), size):
            batch = _batch(rows[first : first + size], shares, first)
            start = time.perf_counter()
            self.client.insert(NAME, batch)
            seconds.append(time.perf_counter() - start)
        return seconds

    def close(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait()


def _batch(rows: Vectors, shares: Sequence[int], first: int) -> list[dict[str, Any]]:
    return [
        {"id": first + number, "vector": np.asarray(row), "share": int(shares[first + number])}
        for number, row in enumerate(rows)
    ]

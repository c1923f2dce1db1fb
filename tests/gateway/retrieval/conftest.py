"""Both doors on sockets, in front of the shipped models and a collection of real digits."""

import asyncio
import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import uvicorn

from kokeshi.engines.embedded import EmbeddedEngine
from kokeshi.gateway.grpc import make_grpc_server
from kokeshi.gateway.http import make_app
from kokeshi.gateway.readiness import Readiness
from kokeshi.images import ImagePool
from kokeshi.index import EmbeddedStore
from kokeshi.index.notes import Notes
from kokeshi.registry import discover
from kokeshi.service import Service
from kokeshi.service.inputs import Image
from kokeshi.service.retrieval.records import RetrievalLimits
from kokeshi.service.types import Limits, NewItem
from kokeshi.v1 import collections_pb2_grpc, inputs_pb2, retrieval_pb2_grpc
from kokeshi_plugins.digits.data import picture, scans

MODELS = Path(__file__).parents[3] / "model_repository"
STORED = 400  # of the 450 scans that no model saw; the others are queries


def png(ink) -> bytes:
    buffer = io.BytesIO()
    picture(ink).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class Digit:
    """A scan: its name, its PNG and what it shows; coordinates are made up, ten degrees a digit."""

    id: str
    data: bytes
    label: str

    @property
    def metadata(self):
        number = int(self.label)
        return {"label": self.label, "latitude": 5.0 * number, "longitude": 10.0 * number}

    @property
    def input(self):
        return inputs_pb2.Input(image=inputs_pb2.Image(data=self.data))


@dataclass
class Doors:
    """A running server: its service, and a client of each door."""

    service: Service
    loop: asyncio.AbstractEventLoop
    http: httpx.Client
    channel: grpc.Channel
    address: str  # of gRPC
    data: Path
    stored: list[Digit] = field(default_factory=list)
    queries: list[Digit] = field(default_factory=list)

    @property
    def retrieval(self):
        return retrieval_pb2_grpc.RetrievalStub(self.channel)

    @property
    def collections(self):
        return collections_pb2_grpc.CollectionsStub(self.channel)

    def run(self, coroutine):
        """What a call of the service returns, made in the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def fill(self, name: str, model: str, digits: list[Digit], tenant: str = "") -> None:
        """Makes a collection, if it is not there, and embeds digits into it."""
        if name not in {info.name for info in self.run(self.service.list_collections())}:
            self.run(self.service.create_collection(name, model))
        for start in range(0, len(digits), 200):
            some = digits[start : start + 200]
            items = [NewItem(each.id, Image(each.data), each.metadata) for each in some]
            self.run(self.service.add_items(name, items, tenant=tenant))


class Running:
    """Both doors on free ports, in a loop on a thread of its own."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ports: tuple[int, int] | None = None
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._main)

    def __enter__(self) -> tuple[int, int]:
        self._thread.start()
        self._is_up.wait(60)
        assert self._ports is not None
        return self._ports

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        readiness = Readiness(self.service)
        server = make_grpc_server(self.service, readiness)
        port = server.add_insecure_port("127.0.0.1:0")
        await self.service.start()
        await server.start()
        config = uvicorn.Config(make_app(self.service, readiness), port=0, log_config=None)
        http = uvicorn.Server(config)
        http.install_signal_handlers = lambda: None
        serving = asyncio.create_task(http._serve())
        while not http.started:
            await asyncio.sleep(0.01)
        self._ports = port, http.servers[0].sockets[0].getsockname()[1]
        self._is_up.set()
        await self._stop.wait()
        http.should_exit = True
        await serving
        readiness.drain()
        readiness.close()
        await server.stop(5)
        await self.service.close()


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """The two shipped models that embed."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("digits", "digits_mrl"):
        (folder / name).symlink_to(MODELS / name)
    return folder


def service_on(repository: Path, data: Path, **limits) -> Service:
    return Service(
        EmbeddedEngine(repository, threads=1),
        ImagePool(2),
        EmbeddedStore(data),
        Limits(),
        notes=Notes(data),
        registry=discover(),
        retrieval_limits=RetrievalLimits(**limits),
    )


@pytest.fixture(scope="module")
def digits() -> list[Digit]:
    """The scans that neither model saw."""
    held_out = scans("held_out")
    rows = enumerate(zip(held_out.ink, held_out.labels, strict=True))
    return [Digit(f"d{row}", png(ink), str(label)) for row, (ink, label) in rows]


@pytest.fixture(scope="module")
def doors(repository, digits, tmp_path_factory) -> Iterator[Doors]:
    """A server whose collection `digits` holds 400 scans; another 50 are queries."""
    data = tmp_path_factory.mktemp("data")
    running = Running(service_on(repository, data, max_references=100, max_pairs=10_000))
    with (
        running as (grpc_port, http_port),
        grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel,
        httpx.Client(base_url=f"http://127.0.0.1:{http_port}", timeout=60) as http,
    ):
        found = Doors(running.service, running.loop, http, channel, f"127.0.0.1:{grpc_port}", data)
        order = np.random.default_rng(0).permutation(len(digits))
        found.stored = [digits[row] for row in order[:STORED]]
        found.queries = [digits[row] for row in order[STORED:]]
        found.fill("digits", "digits_mrl", found.stored)
        yield found

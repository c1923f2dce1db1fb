"""Stand-ins of Triton servers, that do what a test has them do, and engines on them."""

import asyncio
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from kokeshi.engines.config import parse_message
from kokeshi.engines.triton.remote import TritonEngine

TYPES = {"TYPE_FP32": ("FP32", np.float32), "TYPE_UINT8": ("UINT8", np.uint8)}
SOON_S = 1.5  # the second, and what a busy machine adds


class StandIn(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A server of KServe v2 that says what its fields say; every output is full of `value`."""

    def __init__(self, value=0.0):
        self.value = value
        self.configs = {}  # (name, version) -> message
        self.index = {}  # (name, version) -> (state, reason)
        self.not_ready = set()
        self.asked = []  # requests
        self.metadata = []
        self.cancelled = threading.Event()
        self.infer = lambda request, context: None  # what else a request does
        self.loaded = []
        self.on_load = lambda request, context: None
        self.slow_index_s = 0.0
        self.executions = Counter()
        self.port = 0
        self.server = None

    def add(self, repository: Path, *names: str, version: int = 1, state="READY", reason=""):
        for name in names:
            text = (repository / name / "config.pbtxt").read_text()
            self.configs[name, version] = parse_message(text)
            self.index[name, version] = (state, reason)
        return self

    def start(self, address="127.0.0.1", credentials=None):
        self.server = grpc.server(ThreadPoolExecutor(32), options=[("grpc.so_reuseport", 0)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self.server)
        place = address if address.startswith("unix:") else f"{address}:{self.port}"
        if credentials:
            self.port = self.server.add_secure_port(place, credentials)
        else:
            self.port = self.server.add_insecure_port(place)
        self.server.start()
        return self

    def stop(self):
        self.server.stop(None).wait()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def ServerMetadata(self, request, context):
        return service_pb2.ServerMetadataResponse(name="stand-in", version="0.1")

    def RepositoryIndex(self, request, context):
        self.metadata.append(dict(context.invocation_metadata()))
        time.sleep(self.slow_index_s)
        answer = service_pb2.RepositoryIndexResponse()
        for (name, version), (state, reason) in self.index.items():
            number = str(version) if version else ""
            answer.models.add(name=name, version=number, state=state, reason=reason)
        return answer

    def ModelReady(self, request, context):
        return service_pb2.ModelReadyResponse(ready=request.name not in self.not_ready)

    def ModelConfig(self, request, context):
        return service_pb2.ModelConfigResponse(
            config=self.configs[request.name, int(request.version)]
        )

    def ModelStatistics(self, request, context):
        answer = service_pb2.ModelStatisticsResponse()
        for name, version in self.configs:
            made = answer.model_stats.add(name=name, version=str(version))
            made.execution_count = self.executions[name]
            made.inference_count = 2 * self.executions[name]
            made.inference_stats.fail.count = 1
            made.inference_stats.success.ns = 5
            made.batch_stats.add(batch_size=2).compute_infer.ns = 7
        return answer

    def ModelInfer(self, request, context):
        self.asked.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        context.add_callback(lambda: None if context.is_active() else self.cancelled.set())
        self.infer(request, context)
        version = request.model_version or str(
            max((key[1] for key in self.configs if key[0] == request.model_name), default=0)
        )
        config = self.configs.get((request.model_name, int(version)))
        if config is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "Request for unknown model: it is not found")
        self.executions[request.model_name] += 1
        return self.answer(request, config)

    def answer(self, request, config):
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        wanted = [output.name for output in request.outputs]
        for output in config.output:
            if wanted and output.name not in wanted:
                continue
            datatype, dtype = TYPES[_name_of(output.data_type)]
            shape = [request.inputs[0].shape[0], *output.dims]
            answer.outputs.add(name=output.name, datatype=datatype, shape=shape)
            answer.raw_output_contents.append(np.full(shape, self.value, dtype).tobytes())
        return answer

    def RepositoryModelLoad(self, request, context):
        self.loaded.append(request)
        self.on_load(request, context)
        return service_pb2.RepositoryModelLoadResponse()

    def RepositoryModelUnload(self, request, context):
        for key in [key for key in self.index if key[0] == request.model_name]:
            self.index[key] = ("UNAVAILABLE", "unloaded")
        return service_pb2.RepositoryModelUnloadResponse()


def _name_of(number):
    return model_config_pb2.DataType.Name(number)


class Lab:
    """Starts stand-ins, and engines on them; ends them."""

    def __init__(self, repository: Path):
        self._repository = repository
        self._servers = []
        self._engines = []

    def serve(self, *names, value=0.0, **options):
        """A stand-in with the tiny models that are named, or two of them."""
        made = StandIn(value).add(self._repository, *(names or ("colours", "tags")))
        self._servers.append(made.start(**options))
        return made

    async def connect(self, *servers, **options):
        """An engine on stand-ins or addresses."""
        options = {"shared_memory": False, "watch_s": 0.1} | options
        addresses = [it if isinstance(it, str) else it.address for it in servers]
        engine = TritonEngine(addresses, **options)
        self._engines.append(engine)
        await engine.start()
        return engine

    async def close(self):
        for engine in self._engines:
            await engine.close()
        for server in self._servers:
            server.stop()

    def status(self, engine, name, version=1):
        found = [it for it in engine.models() if (it.name, it.version) == (name, version)]
        return found[0] if found else None

    async def until(self, what, within_s=SOON_S):
        """Waits for something to become true."""
        until_s = time.monotonic() + within_s
        while not what():
            assert time.monotonic() < until_s, "it did not come true in time"
            await asyncio.sleep(0.005)

    def refuse(self, code, details):
        """What a stand-in does to answer every request with a status."""
        return lambda request, context: context.abort(code, details)


@pytest.fixture
async def lab(tiny_repository):
    made = Lab(tiny_repository)
    yield made
    await made.close()

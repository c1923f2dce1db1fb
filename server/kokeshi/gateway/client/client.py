"""Every call of the API from Python, over gRPC."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Self

import grpc
from google.protobuf.message import Message

from kokeshi.gateway.client import answers, requests
from kokeshi.gateway.client.answers import ServedModel
from kokeshi.gateway.client.calls import call, message
from kokeshi.gateway.client.collections import CollectionsClient
from kokeshi.gateway.client.requests import Asked
from kokeshi.gateway.client.retrieval import RetrievalClient
from kokeshi.service import types
from kokeshi.v1 import (
    collections_pb2_grpc,
    retrieval_pb2_grpc,
    server_pb2_grpc,
    vision_pb2_grpc,
)
from kokeshi.v1 import server_pb2 as spb
from kokeshi.v1 import vision_pb2 as vpb

ADDRESS: Final = "127.0.0.1:8001"
TIMEOUT_S: Final = 60.0
# Answers may be large: the server bounds them by what it lets a request ask for.
_OPTIONS: Final = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


class Client(CollectionsClient, RetrievalClient):
    """Talks to one server; threads may share it. Use it in a `with`, or close it.

    Inputs are given as they are at hand: bytes are an encoded image, a `Path` is an image file, a
    str is a text, an array is raw values: uint8 (height, width, 3) for a model, float32 (dim,) for
    a collection. Answers are the records of `kokeshi.service.types`.

    Every call raises UnreachableError where no server answers, DeadlineError after `timeout_s`
    seconds, and the KokeshiError of the status where the server refuses.

    Args:
        address: host:port of the gRPC door.
        timeout_s: of each call.
    """

    def __init__(self, address: str = ADDRESS, *, timeout_s: float = TIMEOUT_S) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._vision = vision_pb2_grpc.VisionStub(self._channel)  # type: ignore[no-untyped-call] # generated
        self._collections = collections_pb2_grpc.CollectionsStub(self._channel)  # type: ignore[no-untyped-call] # generated
        self._retrieval = retrieval_pb2_grpc.RetrievalStub(self._channel)  # type: ignore[no-untyped-call] # generated
        self._server = server_pb2_grpc.ServerStub(self._channel)  # type: ignore[no-untyped-call] # generated

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def _call(self, method: Callable[..., Any], request: Message) -> Any:  # noqa: ANN401 - the method's own answer
        return call(method, request, address=self.address, timeout_s=self.timeout_s)

    def classify(
        self,
        model: str,
        inputs: Sequence[Asked],
        *,
        version: int = 0,
        top_k: int | None = None,
        threshold: float | None = None,
        dimension: int | None = None,
        labels: Sequence[str] = (),
        templates: Sequence[str] = (),
    ) -> types.Classified:
        """Class names with scores in [0, 1], best first; see `Service.classify`."""
        request = message(
            vpb.ClassifyRequest,
            model=model,
            version=version,
            inputs=requests.inputs(inputs),
            top_k=top_k,
            threshold=threshold,
            dimension=dimension,
            labels=labels,
            templates=templates,
        )
        return answers.classified(self._call(self._vision.Classify, request))

    def segment(
        self,
        model: str,
        inputs: Sequence[Asked],
        *,
        version: int = 0,
        format: types.MaskFormat | str = types.MaskFormat.PNG,
        threshold: float | None = None,
    ) -> types.Segmented:
        """The class of every pixel; see `Service.segment`."""
        request = message(
            vpb.SegmentRequest,
            model=model,
            version=version,
            inputs=requests.inputs(inputs),
            format=f"MASK_FORMAT_{format.upper()}",
            threshold=threshold,
        )
        return answers.segmented(self._call(self._vision.Segment, request))

    def embed(
        self,
        model: str,
        inputs: Sequence[Asked],
        *,
        version: int = 0,
        dimension: int | None = None,
        encoding: types.Encoding | str = types.Encoding.FLOAT32,
        normalised: bool | None = None,
    ) -> types.Embedded:
        """Vectors of the model's space; see `Service.embed`. Tokens are not told over gRPC."""
        request = message(
            vpb.EmbedRequest,
            model=model,
            version=version,
            inputs=requests.inputs(inputs),
            dimension=dimension,
            encoding=f"VECTOR_ENCODING_{encoding.upper()}",
            normalised=normalised,
        )
        return answers.embedded(self._call(self._vision.Embed, request))

    def compare(
        self,
        model: str,
        left: Asked,
        right: Asked,
        *,
        version: int = 0,
        dimension: int | None = None,
    ) -> types.Compared:
        """How alike two inputs are; see `Service.compare`."""
        request = message(
            vpb.CompareRequest,
            model=model,
            version=version,
            left=requests.one_input(left),
            right=requests.one_input(right),
            dimension=dimension,
        )
        return answers.compared(self._call(self._vision.Compare, request))

    def models(self) -> list[ServedModel]:
        """Every model of the server with its state, without its card."""
        answer = self._call(self._server.ListModels, spb.ListModelsRequest())
        return [answers.model(model) for model in answer.models]

    def model(self, name: str, version: int = 0) -> ServedModel:
        """One model with its card; 0 is its newest version."""
        request = message(spb.DescribeModelRequest, name=name, version=version)
        return answers.model(self._call(self._server.DescribeModel, request))

    def info(self) -> types.ServerInfo:
        """What the server is, and its limits."""
        request = spb.GetServerInfoRequest()
        return answers.server_info(self._call(self._server.GetServerInfo, request))

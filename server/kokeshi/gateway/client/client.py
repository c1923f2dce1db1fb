"""Every call of the API from Python, over gRPC."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Self

import grpc
from google.protobuf.message import Message

from kokeshi.gateway.client import answers, requests
from kokeshi.gateway.client.answers import ServedModel
from kokeshi.gateway.client.calls import call, message
from kokeshi.gateway.client.requests import Asked
from kokeshi.service import types
from kokeshi.v1 import collections_pb2 as cpb
from kokeshi.v1 import collections_pb2_grpc, server_pb2_grpc, vision_pb2_grpc
from kokeshi.v1 import server_pb2 as spb
from kokeshi.v1 import vision_pb2 as vpb

ADDRESS: Final = "127.0.0.1:8001"
TIMEOUT_S: Final = 60.0
# Answers may be large: the server bounds them by what it lets a request ask for.
_OPTIONS: Final = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


class Client:
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
        self._vision = vision_pb2_grpc.VisionStub(self._channel)  # type: ignore[no-untyped-call]
        self._collections = collections_pb2_grpc.CollectionsStub(self._channel)  # type: ignore[no-untyped-call]
        self._server = server_pb2_grpc.ServerStub(self._channel)  # type: ignore[no-untyped-call]

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

    def create_collection(
        self, name: str, model: str, *, index: str = "auto", durability: str = "fsync"
    ) -> types.CollectionInfo:
        """Makes an empty collection in the embedding space of a model."""
        request = message(
            cpb.CreateCollectionRequest,
            name=name,
            model=model,
            index=f"INDEX_KIND_{index.upper()}",
            durability=f"DURABILITY_{durability.upper()}",
        )
        return answers.collection(self._call(self._collections.CreateCollection, request))

    def list_collections(self) -> list[types.CollectionInfo]:
        """All collections, by name."""
        answer = self._call(self._collections.ListCollections, cpb.ListCollectionsRequest())
        return [answers.collection(info) for info in answer.collections]

    def describe_collection(self, name: str) -> types.CollectionInfo:
        """One collection."""
        request = message(cpb.DescribeCollectionRequest, name=name)
        return answers.collection(self._call(self._collections.DescribeCollection, request))

    def delete_collection(self, name: str) -> None:
        """Removes a collection with all its items."""
        request = message(cpb.DeleteCollectionRequest, name=name)
        self._call(self._collections.DeleteCollection, request)

    def add_items(
        self,
        collection: str,
        items: Sequence[types.NewItem],
        *,
        on_conflict: types.OnConflict | str = types.OnConflict.FAIL,
        request_id: str = "",
        space: str = "",
    ) -> types.Written:
        """Embeds and keeps items, all or none; see `Service.add_items`."""
        request = message(
            cpb.AddItemsRequest,
            collection=collection,
            items=[requests.new_item(item) for item in items],
            on_conflict=f"ON_CONFLICT_{on_conflict.upper()}",
            request_id=request_id,
            space=space,
        )
        answer = self._call(self._collections.AddItems, request)
        return types.Written(answer.count, answer.sequence)

    def get_items(
        self, collection: str, ids: Sequence[str], *, with_vectors: bool = False
    ) -> list[types.StoredItem]:
        """Items by id, in that order; an id that does not exist is an error."""
        request = message(
            cpb.GetItemsRequest, collection=collection, ids=ids, with_vectors=with_vectors
        )
        return answers.items(self._call(self._collections.GetItems, request).items)

    def list_items(
        self,
        collection: str,
        *,
        page_size: int = 0,
        page_token: str = "",
        with_vectors: bool = False,
    ) -> types.ItemPage:
        """A page of items, oldest first."""
        request = message(
            cpb.ListItemsRequest,
            collection=collection,
            page_size=page_size,
            page_token=page_token,
            with_vectors=with_vectors,
        )
        answer = self._call(self._collections.ListItems, request)
        return types.ItemPage(answers.items(answer.items), answer.next_page_token)

    def delete_items(self, collection: str, ids: Sequence[str]) -> types.Written:
        """Removes items; the count is of those that existed."""
        request = message(cpb.DeleteItemsRequest, collection=collection, ids=ids)
        answer = self._call(self._collections.DeleteItems, request)
        return types.Written(answer.count, answer.sequence)

    def search(
        self,
        collection: str,
        queries: Sequence[Asked],
        *,
        k: int | None = None,
        mode: types.SearchMode | str = types.SearchMode.AUTO,
        dimension: int | None = None,
        shortlist: int | None = None,
        with_vectors: bool = False,
        model: str = "",
        space: str = "",
    ) -> types.Found:
        """The nearest items of each query, best first; see `Service.search`."""
        request = message(
            cpb.SearchRequest,
            collection=collection,
            queries=requests.inputs(queries),
            k=k,
            mode=f"SEARCH_MODE_{mode.upper()}",
            dimension=dimension,
            shortlist=shortlist,
            with_vectors=with_vectors,
            model=model,
            space=space,
        )
        return answers.found(self._call(self._collections.Search, request))

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

"""Qdrant for the tests: the client's local engine, in this process or behind Qdrant's own gRPC.

    python qdrant_stand_in.py PORT DIRECTORY

serves it in a process that can be killed. It stands in for the wire: statuses, deadlines, what a
protocol buffer makes of a value. It does not stand in for graphs, replicas, or the server's speed.
"""

import importlib.util
import sys
import threading
from concurrent import futures

import pytest
from server_process import ServerProcess

VERSION = "1.20.0"


def skip_without_qdrant():
    if importlib.util.find_spec("qdrant_client") is None:
        pytest.skip("NOT TESTED: the package qdrant-client is not installed")


class StandIn(ServerProcess):
    """The local engine behind Qdrant's own gRPC."""

    @property
    def settings(self):
        """Arguments of `QdrantStore`."""
        return {"url": "http://127.0.0.1", "grpc_port": self.port}

    def command(self):
        return [sys.executable, __file__, str(self.port), self._directory]

    def pause(self):
        """Connections are kept, and nobody answers."""
        self._process.send_signal(19)

    def go_on(self):
        self._process.send_signal(18)


def serve(port, directory):
    import grpc
    from qdrant_client import grpc as api
    from qdrant_client.grpc import collections_service_pb2_grpc as collections
    from qdrant_client.grpc import points_service_pb2_grpc as points
    from qdrant_client.grpc import qdrant_pb2_grpc as root

    engine = Engine(directory)
    server = grpc.server(
        futures.ThreadPoolExecutor(8),
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )

    class Points(points.PointsServicer):
        pass

    class Collections(collections.CollectionsServicer):
        pass

    class Root(root.QdrantServicer):
        def HealthCheck(self, request, context):
            return api.HealthCheckReply(title="stand-in", version=VERSION)

    for service, names in ((Points, POINTS), (Collections, COLLECTIONS)):
        for name, method in names.items():
            setattr(service, name, _handler(engine, method, grpc))
    points.add_PointsServicer_to_server(Points(), server)
    collections.add_CollectionsServicer_to_server(Collections(), server)
    root.add_QdrantServicer_to_server(Root(), server)
    assert server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


def _handler(engine, method, grpc):
    def handle(_, request, context):
        try:
            with engine.turn:
                return method(engine, request)
        except ValueError as error:
            status = grpc.StatusCode.INVALID_ARGUMENT
            if "not found" in str(error):
                status = grpc.StatusCode.NOT_FOUND
            if "already exists" in str(error):
                status = grpc.StatusCode.ALREADY_EXISTS
            context.abort(status, str(error))

    return handle


class Engine:
    """The local engine, and the indexes of payloads that it does not keep."""

    def __init__(self, directory):
        from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
        from qdrant_client.local.qdrant_local import QdrantLocal

        self.local = QdrantLocal(directory, force_disable_check_same_thread=True)
        self.turn = threading.Lock()
        self.indexes = {}
        self.to_rest, self.to_grpc = GrpcToRest, RestToGrpc
        for collection in self.local.collections.values():
            self.hasten(collection)

    @staticmethod
    def hasten(collection):
        """The operating system has every point then: as a server's log, until a power cut."""
        collection.storage.storage.execute("PRAGMA synchronous = OFF")


def _create(engine, request):
    from qdrant_client import grpc as api

    vectors = {}
    if request.HasField("vectors_config"):
        vectors = engine.to_rest.convert_vectors_config(request.vectors_config)
    metadata = engine.to_rest.convert_payload(request.metadata)
    engine.local.create_collection(request.collection_name, vectors, metadata=metadata)
    engine.hasten(engine.local.collections[request.collection_name])
    return api.CollectionOperationResponse(result=True)


def _info(engine, request):
    from qdrant_client import grpc as api
    from qdrant_client import models

    info = engine.local.get_collection(request.collection_name)
    info.config.params.replication_factor = 1
    reply = api.GetCollectionInfoResponse(result=engine.to_grpc.convert_collection_info(info))
    for key in engine.indexes.get(request.collection_name, ()):
        schema = models.PayloadIndexInfo(data_type=models.PayloadSchemaType.KEYWORD, points=0)
        reply.result.payload_schema[key].CopyFrom(engine.to_grpc.convert_payload_index_info(schema))
    return reply


def _list(engine, request):
    from qdrant_client import grpc as api

    found = engine.local.get_collections().collections
    return api.ListCollectionsResponse(
        collections=[api.CollectionDescription(name=one.name) for one in found]
    )


def _exists(engine, request):
    from qdrant_client import grpc as api

    exists = engine.local.collection_exists(request.collection_name)
    return api.CollectionExistsResponse(result=api.CollectionExists(exists=exists))


def _drop(engine, request):
    from qdrant_client import grpc as api

    engine.indexes.pop(request.collection_name, None)
    done = engine.local.delete_collection(request.collection_name)
    return api.CollectionOperationResponse(result=done)


def _index(engine, request):
    engine.local.get_collection(request.collection_name)
    engine.indexes.setdefault(request.collection_name, set()).add(request.field_name)
    return _done()


def _done():
    from qdrant_client import grpc as api

    return api.PointsOperationResponse(
        result=api.UpdateResult(operation_id=0, status=api.UpdateStatus.Completed)
    )


def _upsert(engine, request):
    points = [engine.to_rest.convert_point_struct(point) for point in request.points]
    engine.local.upsert(request.collection_name, points)
    return _done()


def _delete(engine, request):
    selector = engine.to_rest.convert_points_selector(request.points)
    engine.local.delete(request.collection_name, selector)
    return _done()


def _reading(engine, request):
    vectors = False
    if request.HasField("with_vectors"):
        vectors = engine.to_rest.convert_with_vectors_selector(request.with_vectors)
    payload = engine.to_rest.convert_with_payload_selector(request.with_payload)
    return {"with_payload": payload, "with_vectors": vectors}


def _filter(engine, request):
    return engine.to_rest.convert_filter(request.filter) if request.HasField("filter") else None


def _get(engine, request):
    from qdrant_client import grpc as api

    ids = [engine.to_rest.convert_point_id(one) for one in request.ids]
    records = engine.local.retrieve(request.collection_name, ids, **_reading(engine, request))
    return api.GetResponse(result=[_retrieved(engine, record) for record in records])


def _retrieved(engine, record):
    return engine.to_grpc.convert_retrieved_point(record)


def _scroll(engine, request):
    from qdrant_client import grpc as api

    order = {}
    if request.HasField("order_by"):
        assert request.order_by.key in engine.indexes.get(request.collection_name, ())
        order = {"order_by": engine.to_rest.convert_order_by(request.order_by)}
    if request.HasField("offset"):
        order["offset"] = engine.to_rest.convert_point_id(request.offset)
    records, offset = engine.local.scroll(
        request.collection_name,
        _filter(engine, request),
        limit=request.limit,
        **order,
        **_reading(engine, request),
    )
    return api.ScrollResponse(
        result=[_retrieved(engine, record) for record in records],
        next_page_offset=None
        if offset is None
        else engine.to_grpc.convert_extended_point_id(offset),
    )


def _count(engine, request):
    from qdrant_client import grpc as api

    found = engine.local.count(request.collection_name, _filter(engine, request))
    return api.CountResponse(result=api.CountResult(count=found.count))


def _facet(engine, request):
    from qdrant_client import grpc as api

    found = engine.local.facet(request.collection_name, request.key, limit=request.limit)
    hits = [
        api.FacetHit(value=api.FacetValue(string_value=hit.value), count=hit.count)
        for hit in found.hits
    ]
    return api.FacetResponse(hits=hits)


def _query(engine, request):
    from qdrant_client import grpc as api

    results = []
    for one in request.query_points:
        reading = _reading(engine, one)
        prefetch = [engine.to_rest.convert_prefetch_query(stage) for stage in one.prefetch]
        found = engine.local.query_points(
            request.collection_name,
            query=engine.to_rest.convert_query(one.query),
            using=one.using,
            prefetch=prefetch,
            query_filter=_filter(engine, one),
            limit=one.limit,
            **reading,
        )
        points = [engine.to_grpc.convert_scored_point(point) for point in found.points]
        results.append(api.BatchResult(result=points))
    return api.QueryBatchResponse(result=results)


COLLECTIONS = {
    "Create": _create,
    "Get": _info,
    "List": _list,
    "Delete": _drop,
    "CollectionExists": _exists,
}
POINTS = {
    "CreateFieldIndex": _index,
    "Upsert": _upsert,
    "Delete": _delete,
    "Get": _get,
    "Scroll": _scroll,
    "Count": _count,
    "Facet": _facet,
    "QueryBatch": _query,
}

if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])

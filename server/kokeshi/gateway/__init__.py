"""The doors: gRPC and HTTP. The only place that knows grpc, protobuf and fastapi.

Handlers unpack a request, call the service and pack its answer. What both doors must refuse alike
is refused by the service.
"""

"""The gRPC door: `kokeshi.v1`, health and reflection."""

from kokeshi.gateway.grpc.server import make_grpc_server

__all__ = ["make_grpc_server"]

"""The few calls that starting and mending a local Triton takes, on blocking gRPC."""

from collections.abc import Mapping
from typing import Any, Final

from kokeshi.errors import UnavailableError

PING_TIMEOUT_S: Final = 1.0
INDEX_TIMEOUT_S: Final = 10.0
RECONNECT_MS: Final = 100
TRACE: Final = "\n\nAt:\n"  # of a model's Python, where its loading failed


class Calls:
    """A channel to one server.

    Args:
        address: host:port.
    """

    def __init__(self, address: str) -> None:
        import grpc
        from tritonclient.grpc import service_pb2, service_pb2_grpc

        self._messages = service_pb2
        self._error = grpc.RpcError
        # As soon as the server is back: the channel's own waits grow to minutes.
        options = [
            ("grpc.initial_reconnect_backoff_ms", RECONNECT_MS),
            ("grpc.min_reconnect_backoff_ms", RECONNECT_MS),
            ("grpc.max_reconnect_backoff_ms", RECONNECT_MS),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        self._channel = grpc.insecure_channel(address, options)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def is_live(self) -> bool:
        """Whether the server answers at all."""
        try:
            request = self._messages.ServerLiveRequest()
            return bool(self._stub.ServerLive(request, timeout=PING_TIMEOUT_S).live)
        except self._error:
            return False

    def models(self) -> list[str]:
        """Names of the folders in the server's repository."""
        request = self._messages.RepositoryIndexRequest()
        answer = self._call(self._stub.RepositoryIndex, request, INDEX_TIMEOUT_S)
        return sorted({model.name for model in answer.models})

    def load(self, model: str, config: str, files: Mapping[str, bytes], timeout_s: float) -> None:
        """Loads a model; `config` is JSON, or "" for the folder's.

        Raises:
            UnavailableError: it cannot be loaded.
        """
        request = self._messages.RepositoryModelLoadRequest(model_name=model)
        if config:
            request.parameters["config"].string_param = config
        for path, content in files.items():
            request.parameters[f"file:{path}"].bytes_param = content
        self._call(self._stub.RepositoryModelLoad, request, timeout_s)

    def unload(self, model: str, timeout_s: float) -> None:
        """Unloads a model.

        Raises:
            UnavailableError: it does not answer in time.
        """
        request = self._messages.RepositoryModelUnloadRequest(model_name=model)
        self._call(self._stub.RepositoryModelUnload, request, timeout_s)

    def _call(self, call: Any, request: Any, timeout_s: float) -> Any:  # noqa: ANN401 - untyped
        from kokeshi.engines.triton.faults import fault_of

        try:
            return call(request, timeout=timeout_s)
        except self._error as error:
            reason, _, _ = fault_of(error).reason.partition(TRACE)
            raise UnavailableError(reason) from None

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

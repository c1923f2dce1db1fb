"""Has Triton servers load and unload models."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from grpc import aio

from kokeshi.engines.config import parse_message
from kokeshi.engines.triton.faults import Fault, fault_of, silence
from kokeshi.engines.triton.peer import Peer
from kokeshi.errors import (
    ArtefactError,
    InvalidRequestError,
    KokeshiError,
    ModelNotFoundError,
    UnavailableError,
)

NO_FOLDER = "failed to poll from model repository"


async def load(peers: Sequence[Peer], model: str, config: str, files: Mapping[str, bytes]) -> None:
    """See `Engine.load`; a folder that a server cannot read is taken for one that is not there."""
    from tritonclient.grpc import service_pb2

    request = service_pb2.RepositoryModelLoadRequest(model_name=model)
    if files and not config:
        raise InvalidRequestError("files of a model come with its configuration")
    if config:
        request.parameters["config"].string_param = as_json(config)
    for path, data in files.items():
        request.parameters[f"file:{path}"].bytes_param = data
    await _at_all(peers, model, "RepositoryModelLoad", request)


async def unload(peers: Sequence[Peer], model: str) -> None:
    """See `Engine.unload`; what runs may still be running when this returns."""
    from tritonclient.grpc import service_pb2

    request = service_pb2.RepositoryModelUnloadRequest(model_name=model)
    await _at_all(peers, model, "RepositoryModelUnload", request)


def as_json(config: str) -> str:
    """A configuration as Triton takes it with a request to load.

    Raises:
        InvalidRequestError: it is none.
    """
    from google.protobuf.json_format import MessageToJson

    try:
        message = parse_message(config)
    except ArtefactError as error:
        raise InvalidRequestError(f"the configuration cannot be read: {error}") from error
    return MessageToJson(message, preserving_proto_field_name=True, indent=None)


async def _at_all(peers: Sequence[Peer], model: str, call: str, request: Any) -> None:  # noqa: ANN401 - tritonclient is untyped
    """Asks every address, and then says what went wrong at the first where something did."""
    asked = (_at_one(peer, model, call, request) for peer in peers)
    for error in await asyncio.gather(*asked):
        if error is not None:
            raise error


async def _at_one(
    peer: Peer,
    model: str,
    call: str,
    request: Any,  # noqa: ANN401 - tritonclient is untyped
) -> KokeshiError | None:
    try:
        await getattr(peer.stub, call)(request, metadata=peer.headers)
    except aio.AioRpcError as error:
        return _told(fault_of(error), model)
    return None


def _told(fault: Fault, model: str) -> KokeshiError:
    if NO_FOLDER in fault.details or fault.code == "NOT_FOUND":
        return ModelNotFoundError(f"no model named {model!r}")
    if fault.code == "INVALID_ARGUMENT":
        return InvalidRequestError(fault.reason)
    if fault.code == "UNAVAILABLE" and "explicit model load" not in fault.details:
        return UnavailableError(silence(fault))
    return UnavailableError(f"model {model!r} is not loaded or unloaded: {fault.reason}")

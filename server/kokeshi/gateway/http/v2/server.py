"""The server and its models over KServe v2: health, metadata, configurations and statistics."""

from typing import Final

from fastapi import Request, Response

from kokeshi.errors import UnavailableError
from kokeshi.gateway.http.body import service_of
from kokeshi.gateway.http.errors import kserve_error
from kokeshi.gateway.http.v2.routes import Version, make_router, of_model, respond
from kokeshi.gateway.http.v2.schemas import Schema, answer
from kokeshi.gateway.kserve import metadata
from kokeshi.gateway.kserve.calls import version_of
from kokeshi.gateway.kserve.contracts import contracts_of
from kokeshi.gateway.kserve.repository import config_json
from kokeshi.service import Service

# Triton's health answers have no body, and where they say no the status is 400, not 503:
# HandleServerHealth and HandleModelReady of src/http_server.cc at e1db8a6 (August 2026).
NOT_READY: Final = 400
YES: Final[dict[int | str, Schema]] = {200: {"description": "Yes; there is no body."}}

router: Final = make_router()


@router.get("/v2", name="ServerMetadata", responses=answer("KServeServerMetadata"))
@router.get("/v2/", name="ServerMetadata", include_in_schema=False)
async def server_metadata() -> Response:
    """What this server is, and which extensions of the protocol it has."""
    return respond(metadata.server_metadata())


@router.get("/v2/health/live", name="ServerLive", responses=YES, response_class=Response)
async def server_live() -> Response:
    """The process answers."""
    return Response()


@router.get("/v2/health/ready", name="ServerReady", responses=YES, response_class=Response)
async def server_ready(request: Request) -> Response:
    """Requests will be answered; 400 until the models are loaded and while shutting down."""
    try:
        request.app.state.readiness.check()
    except UnavailableError as error:  # 503 by the table of errors, and not here
        return kserve_error(NOT_READY, error.code, str(error))
    return Response()


async def model_ready(model: str, request: Request, version: Version) -> Response:
    """The model answers; 400 while it does not, and of one that is not there."""
    service = service_of(request)
    if metadata.model_ready(service, model, version):
        return Response()
    return kserve_error(NOT_READY, UnavailableError.code, _why_not(service, model, version))


def _why_not(service: Service, model: str, version: str) -> str:
    states = [
        each["reason"]
        for each in metadata.repository_index(service)
        if each["name"] == model and version in {"", each["version"]}
    ]
    return f"model version not ready: {', '.join(states) or 'there is none'}"


async def model_metadata(model: str, request: Request, version: Version) -> Response:
    """What a model takes and gives."""
    service = service_of(request)
    found = metadata.model_metadata(service, model, version)
    card = contracts_of(service).of(model, version_of(version)).card
    if card is None:
        return respond(found)
    properties = {"method": card.method, "tasks": ",".join(card.tasks), "space": card.space}
    return respond({**found, "properties": properties})


async def model_config(model: str, request: Request, version: Version) -> Response:
    """A model's whole configuration, as Triton's ModelConfig in JSON; the card is a parameter."""
    return respond(config_json(service_of(request), model, version))


@router.get(
    "/v2/models/stats",
    name="ModelStatistics",
    operation_id="ModelStatisticsOfAll",
    responses=answer("KServeStatistics"),
    response_class=Response,
)
async def statistics(request: Request) -> Response:
    """What happened to the requests of all models."""
    return respond({"model_stats": await metadata.statistics(service_of(request))})


async def model_statistics(model: str, request: Request, version: Version) -> Response:
    """What happened to the requests of one model."""
    found = await metadata.statistics(service_of(request), model, version)
    return respond({"model_stats": found})


# before the model's own route, which would take "stats" for a name
of_model(router, "/ready", model_ready, name="ModelReady", answers=YES)
of_model(router, "/config", model_config, name="ModelConfig", answers=answer("KServeModelConfig"))
of_model(
    router,
    "/stats",
    model_statistics,
    name="ModelStatistics",
    answers=answer("KServeStatistics"),
)
of_model(router, "", model_metadata, name="ModelMetadata", answers=answer("KServeModelMetadata"))

"""REST routes of the service Server, health and metrics."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from kokeshi.gateway.http.answers import respond
from kokeshi.gateway.http.answers import server as answers
from kokeshi.gateway.http.body import service_of
from kokeshi.gateway.http.requests import MAX_UINT32
from kokeshi.gateway.triton_metrics import exposition

router: Final = APIRouter(tags=["Server"])


@router.get("/v1/server", name="GetServerInfo", response_model=answers.ServerInfo)
async def server_info(request: Request) -> Response:
    """What this server is, and its limits."""
    return respond(answers.ServerInfo.model_validate(service_of(request).info()))


@router.get("/v1/models", name="ListModels", response_model=answers.ListModelsResponse)
async def list_models(request: Request) -> Response:
    """Every model with its state; OpenAI's clients can read it too."""
    models = [answers.Model.of(info) for info in service_of(request).models()]
    return respond(answers.ListModelsResponse(data=models))


@router.get("/v1/models/{model}", name="DescribeModel", response_model=answers.Model)
async def describe_model(
    model: str, request: Request, version: Annotated[int, Query(ge=0, le=MAX_UINT32)] = 0
) -> Response:
    """One model with its card; version 0 is the one that is served."""
    info = service_of(request).model(model, version)
    return respond(answers.Model.of(info, with_card=True))


@router.get("/v1/health/live", name="HealthLive", response_model=answers.Health)
async def live() -> Response:
    """The process answers."""
    return respond(answers.Health(status="live"))


@router.get("/v1/health/ready", name="HealthReady", response_model=answers.Health)
async def ready(request: Request) -> Response:
    """Requests will be answered; 503 until the models are loaded and while shutting down."""
    request.app.state.readiness.check()
    return respond(answers.Health(status="ready"))


@router.get("/metrics", name="Metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Prometheus' metrics, as text or OpenMetrics."""
    content, content_type = exposition(request.headers.get("accept", ""))
    return Response(content, media_type=content_type)

"""System shared memory over KServe v2.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_shared_memory.md
"""

from dataclasses import asdict
from typing import Final

from fastapi import Request, Response

from kokeshi.gateway.http.body import service_of
from kokeshi.gateway.http.v2.body import read_fields
from kokeshi.gateway.http.v2.repository import DONE
from kokeshi.gateway.http.v2.routes import make_router, respond
from kokeshi.gateway.http.v2.schemas import answer, body
from kokeshi.gateway.kserve import regions_of

REGION: Final = "/v2/systemsharedmemory/region/{region}"

router: Final = make_router()


@router.get(
    "/v2/systemsharedmemory/status",
    name="SystemSharedMemoryStatus",
    operation_id="SystemSharedMemoryStatusOfAll",
    responses=answer("KServeRegions"),
    response_class=Response,
)
async def status(request: Request) -> Response:
    """All regions, by name."""
    return respond([asdict(each) for each in regions_of(service_of(request)).status()])


@router.get(
    f"{REGION}/status",
    name="SystemSharedMemoryStatus",
    responses=answer("KServeRegions"),
    response_class=Response,
)
async def status_of(region: str, request: Request) -> Response:
    """One region, in a list."""
    return respond([asdict(each) for each in regions_of(service_of(request)).status(region)])


@router.post(
    f"{REGION}/register",
    name="SystemSharedMemoryRegister",
    responses=DONE,
    response_class=Response,
    openapi_extra=body("KServeRegionRequest"),
)
async def register(region: str, request: Request) -> Response:
    """Maps a region that the client made on this machine."""
    fields = await read_fields(request, "the request")
    regions_of(service_of(request)).register(
        region, fields.text("key"), fields.count("offset", 0), fields.count("byte_size")
    )
    return Response()


@router.post(
    "/v2/systemsharedmemory/unregister",
    name="SystemSharedMemoryUnregister",
    operation_id="SystemSharedMemoryUnregisterOfAll",
    responses=DONE,
    response_class=Response,
)
async def unregister(request: Request) -> Response:
    """Forgets all regions; requests that read them finish first."""
    regions_of(service_of(request)).unregister()
    return Response()


@router.post(
    f"{REGION}/unregister",
    name="SystemSharedMemoryUnregister",
    responses=DONE,
    response_class=Response,
)
async def unregister_one(region: str, request: Request) -> Response:
    """Forgets a region; requests that read it finish first."""
    regions_of(service_of(request)).unregister(region)
    return Response()

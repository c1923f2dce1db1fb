"""Routes of Triton's that are answered with an honest 501; the docs leave them out."""

from typing import Final

from fastapi import Response

from kokeshi.errors import UnimplementedError
from kokeshi.gateway.http.v2.routes import MODEL, make_router

router: Final = make_router()


async def cuda_shared_memory() -> Response:
    """No region of a GPU's memory can be registered.

    Raises:
        UnimplementedError: always.
    """
    raise UnimplementedError("cuda shared memory is not supported; system shared memory is")


async def trace_setting() -> Response:
    """Traces are kept by whoever sent the trace context.

    Raises:
        UnimplementedError: always.
    """
    raise UnimplementedError("trace settings are not supported; trace context is passed on")


async def log_settings() -> Response:
    """Logs are set where the server is started.

    Raises:
        UnimplementedError: always.
    """
    raise UnimplementedError("log settings cannot be changed while the server runs")


for _path, _handler, _name in (
    ("/v2/cudasharedmemory/status", cuda_shared_memory, "CudaSharedMemoryStatus"),
    ("/v2/cudasharedmemory/region/{region}/status", cuda_shared_memory, "CudaSharedMemoryStatus"),
    (
        "/v2/cudasharedmemory/region/{region}/register",
        cuda_shared_memory,
        "CudaSharedMemoryRegister",
    ),
    ("/v2/cudasharedmemory/unregister", cuda_shared_memory, "CudaSharedMemoryUnregister"),
    (
        "/v2/cudasharedmemory/region/{region}/unregister",
        cuda_shared_memory,
        "CudaSharedMemoryUnregister",
    ),
    ("/v2/trace/setting", trace_setting, "TraceSetting"),
    (f"{MODEL}/trace/setting", trace_setting, "TraceSetting"),
    ("/v2/logging", log_settings, "LogSettings"),
):
    router.add_api_route(
        _path, _handler, methods=["GET", "POST"], name=_name, include_in_schema=False
    )

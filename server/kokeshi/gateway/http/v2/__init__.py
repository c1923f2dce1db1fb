"""KServe v2 over HTTP: the Open Inference Protocol with Triton's extensions.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
https://github.com/triton-inference-server/server/tree/main/docs/protocol
"""

from typing import Final

from fastapi import APIRouter

from kokeshi.gateway.http.v2 import absent, infer, memory, repository, server

# Side by side, not one inside another: FastAPI looks for a route once more at every level.
ROUTERS: Final[tuple[APIRouter, ...]] = (
    infer.router,
    server.router,
    repository.router,
    memory.router,
    absent.router,
)

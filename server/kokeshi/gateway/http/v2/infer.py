"""Inference over KServe v2."""

from typing import Final

from fastapi import Request, Response

from kokeshi.gateway.http.body import service_of, timeout_s
from kokeshi.gateway.http.v2.answered import respond
from kokeshi.gateway.http.v2.asked import ask_infer
from kokeshi.gateway.http.v2.routes import Version, make_router, of_model
from kokeshi.gateway.http.v2.schemas import INFER_ANSWERS, INFER_REQUEST
from kokeshi.gateway.kserve import infer, regions_of

router: Final = make_router()


async def model_infer(model: str, request: Request, version: Version) -> Response:
    """Runs a model on tensors; encoded images and texts are taken too, as BYTES.

    Tensors are JSON, raw bytes behind the JSON (parameter `binary_data_size`), or in shared memory.
    A body that is an image, or has `Inference-Header-Content-Length: 0`, is the model's one input.
    """
    service = service_of(request)
    deadline_s = timeout_s(request)
    asked = await ask_infer(request, model, version)
    answer = await infer(service, asked.call, deadline_s)
    return await respond(
        answer,
        binary=asked.binary,
        accepted=request.headers.get("accept-encoding", ""),
        regions=regions_of(service),
    )


of_model(
    router,
    "/infer",
    model_infer,
    method="POST",
    name="ModelInfer",
    answers=INFER_ANSWERS,
    told=INFER_REQUEST,
)

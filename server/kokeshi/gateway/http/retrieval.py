"""REST routes of the service Retrieval."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from kokeshi.gateway.http import retrieval_answers as answers
from kokeshi.gateway.http import retrieval_bodies as bodies
from kokeshi.gateway.http.answers import respond
from kokeshi.gateway.http.asked import ask_json
from kokeshi.gateway.http.body import service_of, timeout_s
from kokeshi.gateway.http.openapi import json_body
from kokeshi.gateway.http.requests import Body
from kokeshi.service.retrieval import Retrieval, typed

H = TypeVar("H", bound=Callable[..., Any])  # a handler

router: Final = APIRouter(prefix="/v1", tags=["Retrieval"])


def _post(path: str, name: str, body: type[Body], answer: type[BaseModel]) -> Callable[[H], H]:
    """A route that takes and gives JSON."""
    return router.post(path, name=name, response_model=answer, openapi_extra=json_body(body))


def _retrieval(request: Request) -> Retrieval:
    return service_of(request).retrieval


@router.get("/retrievers", name="ListRetrievers", response_model=answers.ListRetrieversResponse)
async def list_retrievers(request: Request) -> Response:
    """Retrievers and diagnostics that are installed, with their settings."""
    known = _retrieval(request).plugins()
    told = {
        f"{kind}s": [each for each in known if each.kind == kind]
        for kind in ("retriever", "diagnostic")
    }
    return respond(answers.ListRetrieversResponse.model_validate(told))


@_post(
    "/collections/{name}/retrievers/{retriever}/fit",
    "FitRetriever",
    bodies.FitRetrieverRequest,
    answers.FittedRetriever,
)
async def fit_retriever(name: str, retriever: str, request: Request) -> Response:
    """Fits a retriever on a sample of the collection and keeps the model beside it."""
    asked = await ask_json(request, bodies.FitRetrieverRequest)
    fitted = await _retrieval(request).fit(
        name, retriever, asked.options(), timeout_s=timeout_s(request)
    )
    return respond(answers.FittedRetriever.model_validate(fitted))


@router.get(
    "/collections/{name}/fitted", name="ListFitted", response_model=answers.ListFittedResponse
)
async def list_fitted(name: str, request: Request, tenant: str = "") -> Response:
    """What is fitted for a collection, by name."""
    known = await _retrieval(request).fitted(name, tenant=tenant)
    return respond(answers.ListFittedResponse.model_validate({"fitted": list(known)}))


@router.delete(
    "/collections/{name}/fitted/{fitted}",
    name="DeleteFitted",
    response_model=answers.DeleteFittedResponse,
)
async def delete_fitted(name: str, fitted: str, request: Request, tenant: str = "") -> Response:
    """Forgets a fitted model."""
    await _retrieval(request).delete_fitted(name, fitted, tenant=tenant)
    return respond(answers.DeleteFittedResponse())


@_post(
    "/collections/{name}/ask",
    "AskRetriever",
    bodies.AskRetrieverRequest,
    answers.AskRetrieverResponse,
)
async def ask_retriever(name: str, request: Request) -> Response:
    """What a retriever says of a query's neighbours."""
    asked = await ask_json(request, bodies.AskRetrieverRequest)
    answer = await _retrieval(request).ask(name, asked.question(), timeout_s=timeout_s(request))
    return respond(answers.AskRetrieverResponse.model_validate(answer))


@_post("/collections/{name}/verify", "Verify", bodies.VerifyRequest, typed.Verified)
async def verify(name: str, request: Request) -> Response:
    """Whether a query is the same as an item, or as all items whose field has a value."""
    asked = await ask_json(request, bodies.VerifyRequest)
    return respond(
        await _retrieval(request).verify(
            name, asked.question(), asked.reference(), timeout_s=timeout_s(request)
        )
    )


async def _typed(
    request: Request, name: str, call: Callable[..., Awaitable[typed.Answer]]
) -> Response:
    asked = await ask_json(request, bodies.AskRetrieverRequest)
    return respond(await call(name, asked.question(), timeout_s=timeout_s(request)))


@_post("/collections/{name}/locate", "Locate", bodies.AskRetrieverRequest, typed.Located)
async def locate(name: str, request: Request) -> Response:
    """Where a picture was taken, by the places of its neighbours."""
    return await _typed(request, name, _retrieval(request).locate)


@_post("/collections/{name}/vote", "Vote", bodies.AskRetrieverRequest, typed.Voted)
async def vote(name: str, request: Request) -> Response:
    """The label that the neighbours vote for."""
    return await _typed(request, name, _retrieval(request).vote)


@_post("/collections/{name}/recognise", "Recognise", bodies.AskRetrieverRequest, typed.Recognised)
async def recognise(name: str, request: Request) -> Response:
    """Whether a query is like anything that is stored."""
    return await _typed(request, name, _retrieval(request).recognise)


@_post("/collections/{name}/associate", "Associate", bodies.AskRetrieverRequest, typed.Associated)
async def associate(name: str, request: Request) -> Response:
    """The pattern that a query recalls, with its energy."""
    return await _typed(request, name, _retrieval(request).associate)


@_post("/collections/{name}/diagnose", "Diagnose", bodies.DiagnoseRequest, answers.DiagnoseResponse)
async def diagnose(name: str, request: Request) -> Response:
    """Figures, intervals, curves and findings of a collection."""
    asked = await ask_json(request, bodies.DiagnoseRequest)
    answer = await _retrieval(request).diagnose(name, asked.options(), timeout_s=timeout_s(request))
    return respond(answers.DiagnoseResponse.model_validate(answer))


@_post("/collections/{name}/map", "FitMap", bodies.FitMapRequest, answers.SpaceMap)
async def fit_map(name: str, request: Request) -> Response:
    """A map between the collection's space and another model's, measured on held-out queries."""
    asked = await ask_json(request, bodies.FitMapRequest)
    info = await _retrieval(request).fit_map(name, asked.options(), timeout_s=timeout_s(request))
    return respond(answers.SpaceMap.model_validate(info))


@_post(
    "/collections/{name}/migration",
    "StartMigration",
    bodies.StartMigrationRequest,
    answers.Transfer,
)
async def start_migration(name: str, request: Request) -> Response:
    """Fills this collection with mapped vectors of an old one's items, in the background."""
    asked = await ask_json(request, bodies.StartMigrationRequest)
    told = await _retrieval(request).start_migration(asked.source, name, tenant=asked.tenant)
    return respond(answers.Transfer.model_validate(told))


@router.get(
    "/collections/{name}/migration", name="DescribeTransfer", response_model=answers.Transfer
)
async def describe_transfer(name: str, request: Request, tenant: str = "") -> Response:
    """How far a migration or a rotation into this collection has come."""
    told = await _retrieval(request).describe_transfer(name, tenant=tenant)
    return respond(answers.Transfer.model_validate(told))


@_post(
    "/collections/{name}/migration/finish",
    "FinishMigration",
    bodies.FinishMigrationRequest,
    answers.Transfer,
)
async def finish_migration(name: str, request: Request) -> Response:
    """Points an alias at this collection."""
    asked = await ask_json(request, bodies.FinishMigrationRequest)
    told = await _retrieval(request).finish_migration(
        name, asked.alias, tenant=asked.tenant, least_native_share=asked.least_native_share
    )
    return respond(answers.Transfer.model_validate(told))


@_post(
    "/collections/{name}/rotate",
    "RotateCollection",
    bodies.RotateCollectionRequest,
    answers.RotateCollectionResponse,
)
async def rotate_collection(name: str, request: Request) -> Response:
    """Makes a collection of the same items in a rotated space, whose prefixes make sense."""
    asked = await ask_json(request, bodies.RotateCollectionRequest)
    told = await _retrieval(request).rotate(name, asked.options(), timeout_s=timeout_s(request))
    return respond(answers.RotateCollectionResponse.model_validate(told))

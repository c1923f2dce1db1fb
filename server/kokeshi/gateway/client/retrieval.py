"""The calls of retrievers and diagnostics from Python; answers are the records of the service."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, Unpack

import orjson
from google.protobuf.message import Message

from kokeshi.gateway.client import requests
from kokeshi.gateway.client import retrieval_answers as answers
from kokeshi.gateway.client.calls import message
from kokeshi.gateway.client.collection_requests import json_text
from kokeshi.gateway.client.requests import Asked
from kokeshi.gateway.client.retrieval_requests import QuestionWords, question
from kokeshi.service.retrieval import records, typed
from kokeshi.v1 import retrieval_pb2 as rpb
from kokeshi.v1.retrieval_pb2_grpc import RetrievalStub

A = TypeVar("A", bound=typed.Answer)
Value = str | int | float | bool
Empty: Mapping[str, Any] = {}


class RetrievalClient:
    """Every call about retrievers and diagnostics; see `kokeshi.service.retrieval.Retrieval`.

    A query is an input, as everywhere, or the id of an item by the keyword `id`.
    """

    _retrieval: RetrievalStub
    _call: Callable[[Callable[..., Any], Message], Any]

    def retrievers(self) -> list[records.PluginInfo]:
        """Retrievers and diagnostics that are installed."""
        told = self._call(self._retrieval.ListRetrievers, rpb.ListRetrieversRequest())
        kinds = ("retriever", "diagnostic")
        return [
            answers.record_of(records.PluginInfo, each, kind=kind)
            for kind in kinds
            for each in getattr(told, f"{kind}s")
        ]

    def fit_retriever(
        self,
        collection: str,
        retriever: str,
        *,
        settings: Mapping[str, Any] = Empty,
        labels: str = "",
        judgements: Sequence[records.Judgement] = (),
        other: str = "",
        dimension: int | None = None,
        name: str = "",
        seed: int = records.SEED,
        items: int | None = None,
        tenant: str = "",
    ) -> records.Fitted:
        """Fits a retriever on a sample of a collection and keeps the model beside it."""
        request = message(
            rpb.FitRetrieverRequest,
            collection=collection,
            retriever=retriever,
            settings_json=json_text(settings),
            labels=labels,
            judgements=[message(rpb.Judgement, **vars(each)) for each in judgements],
            other=other,
            dimension=dimension,
            name=name,
            seed=seed,
            items=items,
            tenant=tenant,
        )
        return answers.record_of(records.Fitted, self._call(self._retrieval.FitRetriever, request))

    def fitted(self, collection: str, *, tenant: str = "") -> list[records.Fitted]:
        """What is fitted for a collection, by name."""
        request = message(rpb.ListFittedRequest, collection=collection, tenant=tenant)
        told = self._call(self._retrieval.ListFitted, request)
        return [answers.record_of(records.Fitted, each) for each in told.fitted]

    def delete_fitted(self, collection: str, name: str, *, tenant: str = "") -> None:
        """Forgets a fitted model."""
        request = message(rpb.DeleteFittedRequest, collection=collection, name=name, tenant=tenant)
        self._call(self._retrieval.DeleteFitted, request)

    def ask_retriever(
        self, collection: str, query: Asked | None = None, **options: Unpack[QuestionWords]
    ) -> records.Answered:
        """What a retriever, which the options name, says of a query's neighbours."""
        request = question(collection, query, options)
        told = self._call(self._retrieval.AskRetriever, request)
        return answers.record_of(records.Answered, told)

    def verify(
        self,
        collection: str,
        query: Asked | None = None,
        *,
        against_id: str = "",
        field: str = "",
        value: Value | None = None,
        **options: Unpack[QuestionWords],
    ) -> typed.Verified:
        """Whether a query is the same as an item, or as all items whose field has a value."""
        request = message(
            rpb.VerifyRequest,
            question=question(collection, query, options),
            against_id=against_id,
            field=field,
            value_json="" if value is None else orjson.dumps(value).decode(),
        )
        told = answers.fields_of(self._call(self._retrieval.Verify, request))
        told["verdict"] = told["verdict"].removeprefix("VERDICT_").lower()
        return typed.Verified.model_validate(told)

    def locate(
        self, collection: str, query: Asked | None = None, **options: Unpack[QuestionWords]
    ) -> typed.Located:
        """Where a picture was taken, by the places of its neighbours."""
        return self._typed(typed.Located, self._retrieval.Locate, collection, query, options)

    def vote(
        self, collection: str, query: Asked | None = None, **options: Unpack[QuestionWords]
    ) -> typed.Voted:
        """The label that the neighbours vote for."""
        return self._typed(typed.Voted, self._retrieval.Vote, collection, query, options)

    def recognise(
        self, collection: str, query: Asked | None = None, **options: Unpack[QuestionWords]
    ) -> typed.Recognised:
        """Whether a query is like anything that is stored."""
        return self._typed(typed.Recognised, self._retrieval.Recognise, collection, query, options)

    def associate(
        self, collection: str, query: Asked | None = None, **options: Unpack[QuestionWords]
    ) -> typed.Associated:
        """The pattern that a query recalls, with its energy."""
        return self._typed(typed.Associated, self._retrieval.Associate, collection, query, options)

    def _typed(
        self,
        kind: type[A],
        method: Callable[..., Any],
        collection: str,
        query: Asked | None,
        options: QuestionWords,
    ) -> A:
        told = answers.fields_of(self._call(method, question(collection, query, options)))
        told.setdefault("place", None)  # what may be missing of a place, a label or a score
        told.setdefault("label", None)
        told.setdefault("score", None)
        return kind.model_validate(told)

    def diagnose(
        self,
        collection: str,
        diagnostics: Sequence[str] = (),
        *,
        settings: Mapping[str, Mapping[str, Any]] = Empty,
        labels: str = "",
        queries: Sequence[Asked] = (),
        other: str = "",
        seed: int = records.SEED,
        items: int | None = None,
        tenant: str = "",
        model: str = "",
        space: str = "",
    ) -> records.Diagnosed:
        """Figures, intervals, curves and findings of a collection."""
        request = message(
            rpb.DiagnoseRequest,
            collection=collection,
            diagnostics=diagnostics,
            settings_json=json_text(settings),
            labels=labels,
            queries=requests.inputs(queries),
            other=other,
            seed=seed,
            items=items,
            tenant=tenant,
            model=model,
            space=space,
        )
        return answers.diagnosed(self._call(self._retrieval.Diagnose, request))

    def fit_map(
        self,
        collection: str,
        *,
        model: str = "",
        pairs: Sequence[tuple[str, Asked]] = (),
        other: str = "",
        direction: str = "items",
        least_recall: float | None = None,
        retriever: str = "",
        settings: Mapping[str, Any] = Empty,
        seed: int = records.SEED,
        tenant: str = "",
    ) -> records.MapInfo:
        """Fits a map between the collection's space and another model's."""
        request = message(
            rpb.FitMapRequest,
            collection=collection,
            model=model,
            pairs=[rpb.MapPair(id=key, input=requests.one_input(each)) for key, each in pairs],
            other=other,
            direction=f"DIRECTION_{direction.upper()}",
            least_recall=least_recall,
            retriever=retriever,
            settings_json=json_text(settings),
            seed=seed,
            tenant=tenant,
        )
        told = self._call(self._retrieval.FitMap, request)
        return answers.record_of(records.MapInfo, told, recall=None)

    def start_migration(self, source: str, target: str, *, tenant: str = "") -> records.Transfer:
        """Fills a new model's collection with mapped vectors of an old one's items."""
        request = message(rpb.StartMigrationRequest, source=source, target=target, tenant=tenant)
        return answers.transfer(self._call(self._retrieval.StartMigration, request))

    def describe_transfer(self, target: str, *, tenant: str = "") -> records.Transfer:
        """How far a migration or a rotation into a collection has come."""
        request = message(rpb.DescribeTransferRequest, target=target, tenant=tenant)
        return answers.transfer(self._call(self._retrieval.DescribeTransfer, request))

    def finish_migration(
        self, target: str, alias: str, *, tenant: str = "", least_native_share: float = 0.0
    ) -> records.Transfer:
        """Points an alias at the new collection."""
        request = message(
            rpb.FinishMigrationRequest,
            target=target,
            alias=alias,
            tenant=tenant,
            least_native_share=least_native_share,
        )
        return answers.transfer(self._call(self._retrieval.FinishMigration, request))

    def rotate_collection(
        self,
        collection: str,
        name: str,
        *,
        dimensions: Sequence[int] = (),
        retriever: str = "",
        settings: Mapping[str, Any] = Empty,
        seed: int = records.SEED,
        items: int | None = None,
        tenant: str = "",
    ) -> records.Rotated:
        """Makes a collection of the same items in a rotated space."""
        request = message(
            rpb.RotateCollectionRequest,
            collection=collection,
            name=name,
            dimensions=dimensions,
            retriever=retriever,
            settings_json=json_text(settings),
            seed=seed,
            items=items,
            tenant=tenant,
        )
        told = self._call(self._retrieval.RotateCollection, request)
        return records.Rotated(told.space, dict(told.energy), answers.transfer(told.transfer))

"""Asks retrievers: searches, shows them the neighbours, checks what they answer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from kokeshi import index
from kokeshi.errors import DimensionError, InvalidRequestError, NotFoundError, UnimplementedError
from kokeshi.index.filters import And, Equals, Filter, filter_of
from kokeshi.plugin import Neighbours, Retriever, settle
from kokeshi.registry import Registry
from kokeshi.service.classify import check_k
from kokeshi.service.collections.ground import Ground
from kokeshi.service.retrieval.keeping import Keeper, check_space, retriever_of
from kokeshi.service.retrieval.records import Answered, Fitted, Question, Reference, RetrievalLimits
from kokeshi.service.retrieval.sampling import PAGE_ITEMS
from kokeshi.service.retrieval.showing import (
    check_length,
    compared,
    neighbours_of,
    references_of,
)

Vectors = NDArray[np.float32]


class Asking:
    """The calls that ask a retriever.

    Args:
        ground: store and models.
        keeper: of fitted models.
        registry: of retrievers.
        limits: see `RetrievalLimits`.
    """

    def __init__(
        self,
        ground: Ground,
        keeper: Keeper,
        registry: Registry,
        limits: RetrievalLimits,
    ) -> None:
        self._ground = ground
        self._keeper = keeper
        self._registry = registry
        self._limits = limits

    async def ask(self, collection: str, asked: Question, timeout_s: float | None) -> Answered:
        """See `Retrieval.ask`."""
        retriever = answering(self._registry, asked.retriever)
        spec = (await self._ground.info(collection)).spec
        settings = settle(retriever, asked.settings)
        k = check_k("k", asked.k, self._limits.default_k, self._ground.limits.max_k)
        check_length(spec, asked.dimension)
        query = await self._query(spec, asked, timeout_s)

        def answer() -> Answered:
            model = self._model(self._fitted(spec, retriever, asked), asked)
            found = self._searched(spec, retriever, asked, query, k)
            return self._answered(spec, retriever, asked, settings, model, found)

        return await self._ground.call(answer)

    async def verify(
        self, collection: str, asked: Question, against: Reference, timeout_s: float | None
    ) -> tuple[Answered, int]:
        """See `Retrieval.verify`; also how many items the subject has."""
        retriever = answering(self._registry, asked.retriever)
        if bool(against.id) == bool(against.field):
            raise InvalidRequestError("expected an id or a field with its value to compare with")
        spec = (await self._ground.info(collection)).spec
        if spec.metric == "hyperbolic":
            raise InvalidRequestError("verification compares cosines, which a ball has none of")
        settings = settle(retriever, asked.settings)
        check_length(spec, asked.dimension)
        query = await self._query(spec, asked, timeout_s)

        def answer() -> tuple[Answered, int]:
            fitted = self._fitted(spec, retriever, asked)
            items = self._references(spec, asked, against)
            shown = references_of(items, fitted)
            found = compared(spec, shown, query, asked.dimension)
            seen = index.Found((), _sequence(items), asked.dimension or spec.dim, True, True)
            model = self._model(fitted, asked)
            found_of = (found, seen)
            return self._answered(spec, retriever, asked, settings, model, found_of), len(items)

        return await self._ground.call(answer)

    async def _query(
        self, spec: index.CollectionSpec, asked: Question, timeout_s: float | None
    ) -> Vectors:
        """The vector (dim,) float32 of a question."""
        if isinstance(asked.query, str):
            key = asked.query
            (item,) = await self._ground.call(
                lambda: self._ground.store.get(
                    spec.name, [key], with_vectors=True, tenant=asked.tenant
                )
            )
            return np.asarray(item.vector, np.float32)
        (row,) = await self._ground.vectors(
            spec, asked.model or spec.model, [asked.query], asked.space, timeout_s
        )
        if len(row) != spec.dim:
            raise DimensionError(f"a query has {spec.dim} values, got {len(row)}")
        return np.asarray(row, np.float32)

    def _fitted(
        self, spec: index.CollectionSpec, retriever: Retriever, asked: Question
    ) -> Fitted | None:
        """What is fitted; None for a retriever that can do without."""
        if retriever.model is None:
            return None
        name = asked.fitted or retriever.name
        try:
            fitted = self._keeper.fitted(spec.name, name, asked.tenant)
        except (NotFoundError, UnimplementedError):
            if asked.fitted or not is_optional(retriever):
                raise
            return None
        if fitted.retriever != retriever.name:
            raise InvalidRequestError(
                f"{name!r} was fitted by {fitted.retriever!r}, not by {retriever.name!r}"
            )
        check_space(fitted, spec.space)
        return fitted

    def _model(self, fitted: Fitted | None, asked: Question) -> BaseModel | None:
        return None if fitted is None else self._keeper.fitted_model(fitted, asked.tenant)

    def _searched(
        self,
        spec: index.CollectionSpec,
        retriever: Retriever,
        asked: Question,
        query: Vectors,
        k: int,
    ) -> tuple[Neighbours, index.Found]:
        own = asked.query if isinstance(asked.query, str) else None
        params = index.SearchParams(
            k=k + (own is not None),
            dimension=asked.dimension,
            with_vectors="vectors" in retriever.reads,
            filter=None if asked.filter is None else filter_of(asked.filter),
            tenant=asked.tenant,
        )
        store = self._ground.store
        found = store.search(spec.name, query[None], params, space=spec.space)
        hits = [hit for hit in found.hits[0] if hit.id != own][:k]
        count = store.count(spec.name, filter=params.filter, tenant=asked.tenant)
        count = max(count - (own is not None), 0)
        return neighbours_of(spec, found, hits, query, retriever, count), found

    def _references(
        self, spec: index.CollectionSpec, asked: Question, against: Reference
    ) -> list[index.Item]:
        """The items that a query is compared with.

        Raises:
            NotFoundError: there is none.
            InvalidRequestError: there are too many.
        """
        store = self._ground.store
        if against.id:
            return store.get(spec.name, [against.id], with_vectors=True, tenant=asked.tenant)
        wanted = _subject(asked, against)
        items: list[index.Item] = []
        cursor = None
        while len(items) <= self._limits.max_references:
            page = store.scroll(
                spec.name,
                cursor=cursor,
                limit=PAGE_ITEMS,
                with_vectors=True,
                filter=wanted,
                tenant=asked.tenant,
            )
            items += (item for item in page.items if item.id != asked.query)
            cursor = page.cursor
            if cursor is None:
                break
        told = f"{against.field!r} is {against.value!r}"
        if not items:
            raise NotFoundError(f"no other item of {spec.name!r} whose {told}")
        if len(items) > self._limits.max_references:
            raise InvalidRequestError(
                f"a subject has at most {self._limits.max_references} items, there are more whose "
                f"{told}"
            )
        return items

    def _answered(
        self,
        spec: index.CollectionSpec,
        retriever: Retriever,
        asked: Question,
        settings: Mapping[str, Any],
        model: BaseModel | None,
        found: tuple[Neighbours, index.Found],
    ) -> Answered:
        neighbours, seen = found
        assert retriever.answer is not None  # see `answering`
        answer = retriever.answer(neighbours, settings, model)
        length = asked.dimension or spec.dim
        return Answered(retriever.name, answer, length, neighbours.ids, seen.seq)


def answering(registry: Registry, name: str) -> Retriever:
    """A retriever that answers queries.

    Raises:
        NotFoundError: no plugin offers it.
        InvalidRequestError: it does something else.
    """
    retriever = retriever_of(registry, name)
    if retriever.answer is None:
        plans = ": what it fits says how to search" if retriever.plan is not None else ""
        raise InvalidRequestError(f"retriever {name!r} answers no queries{plans}")
    return retriever


def is_optional(retriever: Retriever) -> bool:
    """Whether the retriever's own defaults stand in for a fit: a setting 0 asks for the model.

    A retriever says so by its annotation: `model: X | None` of `answer`.
    """
    annotations = getattr(retriever.answer, "__annotations__", {})
    kind = annotations.get("model")
    return kind is not None and type(None) in getattr(kind, "__args__", ())


def _subject(asked: Question, against: Reference) -> Filter:
    if against.value is None:
        raise InvalidRequestError(f"expected a value of {against.field!r}, got none")
    subject = Equals(against.field, against.value)
    if asked.filter is None:
        return subject
    return And((subject, filter_of(asked.filter)))


def _sequence(items: list[index.Item]) -> int:
    return max(item.seq for item in items)

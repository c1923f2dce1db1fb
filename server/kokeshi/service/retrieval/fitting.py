"""Fits retrievers on what a collection holds, and keeps their models."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kokeshi import index
from kokeshi.errors import InvalidRequestError, NotFoundError
from kokeshi.plugin import Pairs, Retriever, Sample, go_on, settle
from kokeshi.registry import Registry
from kokeshi.service.classify import check_k
from kokeshi.service.collections.ground import Ground
from kokeshi.service.retrieval.jobs import Jobs
from kokeshi.service.retrieval.keeping import FITTED, Keeper, kind_of, retriever_of
from kokeshi.service.retrieval.planning import figures_of
from kokeshi.service.retrieval.records import (
    DiagnoseOptions,
    FitOptions,
    Fitted,
    Judgement,
    RetrievalLimits,
)
from kokeshi.service.retrieval.sampling import (
    Draw,
    drawn_items,
    items_of,
    matrix_of,
    sample_of,
)
from kokeshi.service.retrieval.showing import check_length, cut


class Fitting:
    """The calls that fit retrievers.

    Args:
        ground: store and aliases.
        keeper: of the models.
        registry: of retrievers.
        jobs: where fits run.
        limits: see `RetrievalLimits`.
    """

    def __init__(
        self,
        ground: Ground,
        keeper: Keeper,
        registry: Registry,
        jobs: Jobs,
        limits: RetrievalLimits,
    ) -> None:
        self._ground = ground
        self._keeper = keeper
        self._registry = registry
        self._jobs = jobs
        self._limits = limits

    async def fit(
        self, collection: str, name: str, asked: FitOptions, timeout_s: float | None
    ) -> Fitted:
        """See `Retrieval.fit`."""
        retriever = fitting(self._registry, name)
        settings = settle(retriever, asked.settings)
        self._check(asked)
        info = await self._ground.info(collection)
        check_length(info.spec, asked.dimension)
        other = (await self._ground.info(asked.other)).spec if asked.other else None

        def work() -> Fitted:
            sample = self._sample(info.spec, asked, other)
            assert retriever.fit is not None  # see `fitting`
            go_on()
            model = retriever.fit(sample, settings)
            go_on()  # what nobody waits for is not kept
            fitted = self._told(info, retriever, asked, sample, settings)
            made = sample, model
            figures = figures_of(self._ground, info, retriever, fitted, made, asked.tenant)
            told = replace(fitted, figures=figures)
            return self._keeper.keep_fitted(told, asked.tenant, model)

        return await self._jobs.run(work, timeout_s)

    async def fitted(self, collection: str, tenant: str) -> Sequence[Fitted]:
        """See `Retrieval.fitted`."""
        name = (await self._ground.info(collection)).spec.name

        def read() -> list[Fitted]:
            names = self._keeper.names(name, kind_of(FITTED, tenant))
            return [self._keeper.fitted(name, each, tenant) for each in names]

        return await self._ground.call(read)

    async def delete(self, collection: str, name: str, tenant: str) -> None:
        """See `Retrieval.delete_fitted`."""
        owner = (await self._ground.info(collection)).spec.name
        kind = kind_of(FITTED, tenant)
        if not await self._ground.call(lambda: self._keeper.delete(owner, kind, name)):
            raise NotFoundError(f"nothing is fitted under {name!r} for collection {owner!r}")

    def _check(self, asked: FitOptions) -> None:
        check_k("items", asked.items, self._limits.max_sample_items, self._limits.max_sample_items)
        if asked.labels and asked.judgements:
            raise InvalidRequestError("expected labels or judged pairs, got both")
        if len(asked.judgements) > self._limits.max_pairs:
            raise InvalidRequestError(
                f"a fit takes at most {self._limits.max_pairs} pairs, got {len(asked.judgements)}"
            )

    def _sample(
        self, spec: index.CollectionSpec, asked: FitOptions, other: index.CollectionSpec | None
    ) -> Sample:
        store = self._ground.store
        if asked.judgements:
            return self._judged(spec, asked)
        draw = draw_of(self._limits, asked)
        items = drawn_items(store, spec.name, draw)
        if not items:
            raise InvalidRequestError(f"collection {spec.name!r} has no items to fit on")
        sample = sample_of(spec, items, asked.labels, asked.seed)
        if other is not None:
            sample = with_counterpart(store, sample, other, asked.tenant)
        return sample if asked.dimension is None else _cut(spec, sample, asked.dimension)

    def _judged(self, spec: index.CollectionSpec, asked: FitOptions) -> Sample:
        """A sample of judged pairs at one length; pairs of ids are scored by their cosine."""
        length = asked.dimension or spec.dim
        scores = _scores(self._ground.store, spec, asked, length)
        same = np.array([each.same for each in asked.judgements])
        return Sample(
            vectors=np.empty((0, length), np.float32),
            pairs=Pairs(scores, same),
            space=spec.space,
            seed=asked.seed,
        )

    def _told(
        self,
        info: index.CollectionInfo,
        retriever: Retriever,
        asked: FitOptions,
        sample: Sample,
        settings: dict[str, Any],
    ) -> Fitted:
        return Fitted(
            name=asked.name or retriever.name,
            retriever=retriever.name,
            collection=info.spec.name,
            settings=settings,
            space=info.spec.space,
            dimension=sample.vectors.shape[1],
            labels=asked.labels,
            count=len(asked.judgements) or len(sample.vectors),
            of=info.count,
            sequence=info.seq,
            seed=asked.seed,
            digest="",
            size_bytes=0,
        )


def fitting(registry: Registry, name: str) -> Retriever:
    """A retriever that can be fitted.

    Raises:
        NotFoundError: no plugin offers it.
        InvalidRequestError: it has nothing to fit.
    """
    retriever = retriever_of(registry, name)
    if retriever.fit is None or retriever.model is None:
        raise InvalidRequestError(f"retriever {name!r} has nothing to fit")
    return retriever


def draw_of(limits: RetrievalLimits, asked: FitOptions | DiagnoseOptions) -> Draw:
    """How a call's sample is drawn."""
    most = asked.items or limits.max_sample_items
    return Draw(most, limits.max_scanned_items, asked.seed, asked.labels, asked.tenant)


def with_counterpart(
    store: index.Store, sample: Sample, other: index.CollectionSpec, tenant: str
) -> Sample:
    """The items of a sample that another collection holds too, with their vectors there.

    Raises:
        InvalidRequestError: it holds none of them.
    """
    there = {item.id: item for item in items_of(store, other.name, sample.ids, tenant)}
    rows = [row for row, key in enumerate(sample.ids) if key in there]
    if not rows:
        raise InvalidRequestError(f"collection {other.name!r} holds none of the sampled ids")
    both = [there[sample.ids[row]] for row in rows]
    return replace(
        sample,
        vectors=sample.vectors[rows],
        ids=tuple(sample.ids[row] for row in rows),
        labels=tuple(sample.labels[row] for row in rows) if sample.labels else (),
        metadata=tuple(sample.metadata[row] for row in rows),
        counterpart=matrix_of(both, other.dim),
        counterpart_space=other.space,
    )


def _cut(spec: index.CollectionSpec, sample: Sample, dimension: int) -> Sample:
    """A sample of prefixes alone."""
    lengths = tuple(length for length in spec.trained if length <= dimension)
    vectors = cut(sample.vectors, dimension, is_unit=spec.metric == "cosine")
    return replace(sample, vectors=vectors, dimensions=lengths)


def _scores(store: index.Store, spec: index.CollectionSpec, asked: FitOptions, length: int) -> Any:  # noqa: ANN401 - float32 (pairs,)
    """Similarities of the judged pairs.

    Raises:
        InvalidRequestError: a pair has neither ids nor a score, or an id is unknown.
    """
    ids = [key for each in asked.judgements if each.score is None for key in _ids(each)]
    items = list(items_of(store, spec.name, list(dict.fromkeys(ids)), asked.tenant))
    unit = cut(matrix_of(items, spec.dim), length, is_unit=True)
    row_of = {item.id: row for row, item in enumerate(items)}
    missing = next((key for key in ids if key not in row_of), None)
    if missing is not None:
        raise InvalidRequestError(f"a judged pair names item {missing!r}, which is not there")
    return np.array(
        [
            unit[row_of[each.left_id]] @ unit[row_of[each.right_id]]
            if each.score is None
            else each.score
            for each in asked.judgements
        ],
        np.float32,
    )


def _ids(judgement: Judgement) -> tuple[str, str]:
    if not (judgement.left_id and judgement.right_id):
        raise InvalidRequestError("a judged pair has two ids or a score, got neither")
    return judgement.left_id, judgement.right_id

"""Maps between the spaces of two models, and rotated spaces."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from typing import Any, Final

import numpy as np
from pydantic import BaseModel

from kokeshi import index
from kokeshi.contract import Task
from kokeshi.errors import InvalidRequestError, NotFoundError, SpaceMismatchError
from kokeshi.plugin import Retriever, Sample, go_on, settle
from kokeshi.registry import Registry
from kokeshi.service.classify import check_k
from kokeshi.service.collections.ground import Ground
from kokeshi.service.retrieval.entrance import Vectors, embedded
from kokeshi.service.retrieval.fitting import fitting, with_counterpart
from kokeshi.service.retrieval.jobs import Jobs
from kokeshi.service.retrieval.keeping import MAP, ROTATION, Keeper, way_name
from kokeshi.service.retrieval.records import (
    MapInfo,
    MapOptions,
    RetrievalLimits,
    Rotated,
    RotateOptions,
    Transfer,
)
from kokeshi.service.retrieval.sampling import Draw, drawn_items, items_of, sample_of
from kokeshi.service.retrieval.transfers import State, Transfers

SHORTEST: Final = 8  # prefix of a rotated space, where the caller names none
LEAST_RECALL: Final = "least_recall"  # the setting of a map that refuses to be worse
RECALL: Final = "recall"  # what a map says of itself, by prefix length
SHOWN: Final = (str, int, float, bool)  # values of a model that are told


class Spaces:
    """The calls about spaces.

    Args:
        ground: store, models and aliases.
        keeper: of maps and rotations.
        registry: of the retrievers that fit them.
        jobs: where fits run.
        transfers: fill collections.
        limits: see `RetrievalLimits`.
    """

    def __init__(
        self,
        ground: Ground,
        keeper: Keeper,
        registry: Registry,
        jobs: Jobs,
        transfers: Transfers,
        limits: RetrievalLimits,
    ) -> None:
        self._ground = ground
        self._keeper = keeper
        self._registry = registry
        self._jobs = jobs
        self._transfers = transfers
        self._limits = limits

    async def fit_map(self, collection: str, asked: MapOptions, timeout_s: float | None) -> MapInfo:
        """See `Retrieval.fit_map`."""
        retriever = mapping(self._registry, asked.retriever)
        settings = settle(retriever, self._with_least(retriever, asked))
        if bool(asked.pairs) == bool(asked.other):
            raise InvalidRequestError("expected pairs or another collection, got both or neither")
        spec = (await self._ground.info(collection)).spec
        _check_flat(spec.metric)
        if asked.pairs:
            sample = await self._of_pairs(spec, asked, timeout_s)
        else:
            other = (await self._ground.info(asked.other)).spec
            _check_flat(other.metric)
            sample = await self._ground.call(lambda: self._of_both(spec, other, asked))
        if sample.space == sample.counterpart_space:
            raise InvalidRequestError(
                f"both are of space {sample.space!r}: there is nothing to map"
            )

        def work() -> MapInfo:
            assert retriever.fit is not None  # see `mapping`
            model = retriever.fit(sample, settings)
            go_on()  # what nobody waits for is not kept
            return self._kept(spec, retriever, sample, model)

        return await self._jobs.run(work, timeout_s)

    def _with_least(self, retriever: Retriever, asked: MapOptions) -> dict[str, Any]:
        """The settings with the recall below which there is no map, where it has that setting."""
        settings = dict(asked.settings)
        if asked.least_recall is not None:
            settings[LEAST_RECALL] = asked.least_recall
        elif LEAST_RECALL in retriever.defaults:
            settings.setdefault(LEAST_RECALL, self._limits.least_recall)
        return settings

    async def _of_pairs(
        self, spec: index.CollectionSpec, asked: MapOptions, timeout_s: float | None
    ) -> Sample:
        """Stored items beside what another model makes of the inputs that the client sent."""
        if not asked.model:
            raise InvalidRequestError("pairs need the model that embeds their inputs")
        most = self._limits.max_sample_items
        if len(asked.pairs) > most:
            raise InvalidRequestError(f"a map takes at most {most} pairs, got {len(asked.pairs)}")
        ids = [key for key, _ in asked.pairs]
        if len(set(ids)) < len(ids):
            raise InvalidRequestError("an id comes twice among the pairs")
        items = await self._ground.call(
            lambda: list(items_of(self._ground.store, spec.name, ids, asked.tenant))
        )
        if len(items) < len(ids):
            there = {item.id for item in items}
            missing = next(key for key in ids if key not in there)
            raise NotFoundError(f"no item {missing!r} in collection {spec.name!r}")
        made, space = await self._embedded(asked, timeout_s)
        card = self._ground.runner.card_for(asked.model, 0, [asked.pairs[0][1]])
        output = card.output_for(Task.EMBEDDING)
        _check_flat(output.metric)
        lengths = tuple(output.dimensions) or (made.shape[1],)
        own = sample_of(spec, items, "", asked.seed)
        return _directed(asked, replace(own, counterpart=made, counterpart_space=space), lengths)

    async def _embedded(self, asked: MapOptions, timeout_s: float | None) -> tuple[Vectors, str]:
        """In calls as large as one may be."""
        size = self._ground.limits.max_inputs
        parts, space = [], ""
        for start in range(0, len(asked.pairs), size):
            inputs = [item for _, item in asked.pairs[start : start + size]]
            rows, space = await embedded(self._ground.runner, asked.model, inputs, timeout_s)
            parts.append(rows)
        return np.concatenate(parts), space

    def _of_both(
        self, spec: index.CollectionSpec, other: index.CollectionSpec, asked: MapOptions
    ) -> Sample:
        """Items that both collections hold, by id; the smaller one says which."""
        store, limits = self._ground.store, self._limits
        most, scanned = limits.max_sample_items, limits.max_scanned_items
        draw = Draw(most, scanned, asked.seed, tenant=asked.tenant)
        counts = [store.count(each.name, tenant=asked.tenant) for each in (spec, other)]
        if counts[0] <= counts[1]:
            items = drawn_items(store, spec.name, draw)
        else:
            ids = [item.id for item in drawn_items(store, other.name, draw)]
            items = list(items_of(store, spec.name, ids, asked.tenant))
        sample = with_counterpart(
            store, sample_of(spec, items, "", asked.seed), other, asked.tenant
        )
        return _directed(asked, sample, other.trained)

    def _kept(
        self, spec: index.CollectionSpec, retriever: Retriever, sample: Sample, model: BaseModel
    ) -> MapInfo:
        told = model.model_dump(mode="json")
        info = MapInfo(
            collection=spec.name,
            retriever=retriever.name,
            source=sample.counterpart_space,
            target=sample.space,
            count=len(sample.vectors),
            recall=recall_of(told, sample.trained[-1]),
            model=_shown(told),
        )
        self._keeper.put(MAP, way_name(info.source, info.target), asdict(info), model)
        return info

    async def start_migration(self, source: str, target: str, tenant: str) -> Transfer:
        """See `Retrieval.start_migration`."""
        old, new = [(await self._ground.info(name)).spec for name in (source, target)]
        way = await self._ground.call(lambda: self._keeper.way(MAP, old.name, old.space, new.space))
        if way is None:
            raise SpaceMismatchError(
                f"no map leads from {old.name!r} of space {old.space!r} into {new.name!r} of "
                f"space {new.space!r}: fit one with direction 'items'"
            )
        state = State(old.name, new.name, tenant, MAP, recall=way.info.recall)
        return await self._transfers.start(state)

    async def rotate(
        self, collection: str, asked: RotateOptions, timeout_s: float | None
    ) -> Rotated:
        """See `Retrieval.rotate`."""
        retriever = mapping(self._registry, asked.retriever)
        settings = settle(retriever, asked.settings)
        most = self._limits.max_sample_items
        check_k("items", asked.items, most, most)
        spec = (await self._ground.info(collection)).spec
        lengths = prefix_lengths(spec.dim, asked.dimensions)

        def work() -> tuple[index.CollectionSpec, dict[int, float]]:
            scanned = self._limits.max_scanned_items
            draw = Draw(asked.items or most, scanned, asked.seed, tenant=asked.tenant)
            items = drawn_items(self._ground.store, spec.name, draw)
            sample = sample_of(spec, items, "", asked.seed)
            assert retriever.fit is not None  # see `mapping`
            model = retriever.fit(sample, settings)
            go_on()  # what nobody waits for is not made
            made = self._made(spec, asked, retriever, model, lengths)
            assert retriever.apply is not None  # see `mapping`
            return made, energy_of(retriever.apply(sample.vectors, model), lengths)

        made, energy = await self._jobs.run(work, timeout_s)
        state = State(spec.name, made.name, asked.tenant, ROTATION)
        return Rotated(made.space, energy, await self._transfers.start(state))

    def _made(
        self,
        spec: index.CollectionSpec,
        asked: RotateOptions,
        retriever: Retriever,
        model: BaseModel,
        lengths: tuple[int, ...],
    ) -> index.CollectionSpec:
        """The empty collection of the rotated space, with its rotation kept first."""
        space = derived_space(spec.space, model)
        made = replace(spec, name=asked.name, space=space, dimensions=lengths, graph_dimension=None)
        notes = self._keeper.notes
        if notes.resolve(asked.name) is not None:
            raise InvalidRequestError(f"{asked.name!r} is an alias")
        self._ground.store.create(made)
        info = MapInfo(asked.name, retriever.name, spec.space, space, 0, None, {})
        self._keeper.put(ROTATION, way_name(spec.space, space), asdict(info), model)
        return made


def mapping(registry: Registry, name: str) -> Retriever:
    """A retriever that fits a way between spaces.

    Raises:
        NotFoundError: no plugin offers it.
        InvalidRequestError: it does something else.
    """
    retriever = fitting(registry, name)
    if retriever.apply is None:
        raise InvalidRequestError(f"retriever {name!r} takes no vectors into another space")
    return retriever


def derived_space(space: str, model: BaseModel) -> str:
    """Fingerprint of a space that a model was applied to: 16 hexadecimal digits."""
    return sha256(f"{space}\n{model.model_dump_json()}".encode()).hexdigest()[:16]


def prefix_lengths(dim: int, asked: Sequence[int]) -> tuple[int, ...]:
    """Lengths that a rotated space may be searched at, ascending, the full one last.

    Raises:
        InvalidRequestError: one is not from 1 to the full length.
    """
    wrong = next((length for length in asked if not 1 <= length <= dim), None)
    if wrong is not None:
        raise InvalidRequestError(f"dimensions are from 1 to {dim}, not {wrong!r}")
    powers = (SHORTEST << step for step in range(dim.bit_length()))
    chosen = set(asked) or {length for length in powers if length < dim}
    return (*sorted(chosen - {dim}), dim)


def energy_of(rotated: Vectors, lengths: Sequence[int]) -> dict[int, float]:
    """Share of the squared length that prefixes of (n, dim) keep, 0 to 1."""
    squares = np.square(rotated.astype(np.float64)).sum(axis=0)
    return {length: float(squares[:length].sum() / squares.sum()) for length in lengths}


def recall_of(told: Any, length: int) -> float | None:  # noqa: ANN401 - a model as JSON
    """The recall at a length that a map says it was measured to have; None where it says none."""
    by_length = told.get(RECALL)
    rate = by_length.get(str(length)) if isinstance(by_length, dict) else by_length
    value = rate.get("value") if isinstance(rate, dict) else rate
    return float(value) if isinstance(value, int | float) else None


def _check_flat(metric: str) -> None:
    if metric == "hyperbolic":
        raise InvalidRequestError("a map gives unit vectors, of which a hyperbolic space has none")


def _directed(asked: MapOptions, sample: Sample, other_lengths: tuple[int, ...]) -> Sample:
    """A sample whose `vectors` are of the space that is mapped into."""
    if asked.direction == "queries":
        return sample
    counterpart = sample.counterpart
    assert counterpart is not None  # it was filled
    return replace(
        sample,
        vectors=counterpart,
        counterpart=sample.vectors,
        dimensions=other_lengths,
        space=sample.counterpart_space,
        counterpart_space=sample.space,
    )


def _shown(told: dict[str, Any]) -> dict[str, Any]:
    """A model without its arrays."""
    return {
        key: value
        for key, value in told.items()
        if isinstance(value, SHOWN) or (isinstance(value, dict) and "base64" not in value)
    }

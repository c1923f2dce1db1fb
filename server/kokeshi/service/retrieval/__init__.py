"""Retrievers and diagnostics over collections: what more there is to say of an index."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import Diagnostic, Retriever
from kokeshi.registry import Registry
from kokeshi.service.collections.ground import Ground
from kokeshi.service.retrieval.asking import Asking
from kokeshi.service.retrieval.diagnosing import Diagnosing
from kokeshi.service.retrieval.entrance import Entrance
from kokeshi.service.retrieval.fitting import Fitting
from kokeshi.service.retrieval.jobs import Jobs
from kokeshi.service.retrieval.keeping import Keeper
from kokeshi.service.retrieval.planning import Planning
from kokeshi.service.retrieval.records import (
    Answered,
    Defaults,
    Diagnosed,
    DiagnoseOptions,
    FitOptions,
    Fitted,
    MapInfo,
    MapOptions,
    PluginInfo,
    Question,
    Reference,
    RetrievalLimits,
    Rotated,
    RotateOptions,
    Transfer,
)
from kokeshi.service.retrieval.spaces import Spaces
from kokeshi.service.retrieval.transfers import Transfers
from kokeshi.service.retrieval.typed import (
    Associated,
    Located,
    Recognised,
    Verified,
    Voted,
    read,
)

PARTS: Final = ("fit", "answer", "apply", "plan")  # that a retriever may have


class Retrieval:
    """Every call about retrievers and diagnostics; `collection` is a name or an alias of one.

    Args:
        ground: store, models, notes and aliases.
        registry: of retrievers and diagnostics.
        limits: sizes that calls keep.
        defaults: names behind the typed calls.

    Every call raises InvalidRequestError for what can never be right, NotFoundError for a
    collection, an item, a retriever or a fitted model that is not there, UnimplementedError where
    the server has no notes to keep a fit in, and what the store and the models raise.
    """

    def __init__(
        self,
        ground: Ground,
        registry: Registry,
        limits: RetrievalLimits | None = None,
        defaults: Defaults | None = None,
    ) -> None:
        self.limits = limits or RetrievalLimits()
        self.defaults = defaults or Defaults()
        self._registry = registry
        self._jobs = Jobs(self.limits.max_jobs, self.limits.max_job_s)
        self._keeper = Keeper(ground.notes, registry, self.limits.max_cached_models)
        self._transfers = Transfers(ground, self._keeper, self.limits)
        self._has_notes = ground.notes is not None
        ground.crossing = Entrance(self._keeper)
        ground.planning = Planning(ground, self._keeper, self.defaults.search)
        self._asking = Asking(ground, self._keeper, registry, self.limits)
        self._fitting = Fitting(ground, self._keeper, registry, self._jobs, self.limits)
        self._diagnosing = Diagnosing(ground, registry, self._jobs, self.limits)
        self._spaces = Spaces(
            ground, self._keeper, registry, self._jobs, self._transfers, self.limits
        )

    async def start(self) -> None:
        """Goes on with the transfers that a stop interrupted."""
        if self._has_notes:
            await self._transfers.resume()

    async def close(self) -> None:
        """Stops transfers, and waits for the fit that runs. The store is closed after this."""
        await self._transfers.close()
        self._jobs.close()

    def plugins(self) -> Sequence[PluginInfo]:
        """Retrievers and diagnostics that are installed, by name."""
        known = self._registry
        chosen: list[Retriever | Diagnostic] = [*known.retrievers.values()]
        chosen += known.diagnostics.values()
        told = [_plugin(each, known.distributions.get(each.name, "")) for each in chosen]
        return sorted(told, key=lambda each: (each.kind, each.name))

    async def fit(
        self,
        collection: str,
        retriever: str,
        options: FitOptions,
        *,
        timeout_s: float | None = None,
    ) -> Fitted:
        """Fits a retriever on a sample of a collection, and keeps the model.

        Raises:
            OverloadedError: too many fits are under way.
        """
        return await self._fitting.fit(collection, retriever, options, timeout_s)

    async def fitted(self, collection: str, *, tenant: str = "") -> Sequence[Fitted]:
        """What is fitted for a collection, by name."""
        return await self._fitting.fitted(collection, tenant)

    async def delete_fitted(self, collection: str, name: str, *, tenant: str = "") -> None:
        """Forgets a fitted model."""
        await self._fitting.delete(collection, name, tenant)

    async def ask(
        self, collection: str, question: Question, *, timeout_s: float | None = None
    ) -> Answered:
        """What a retriever says of a query's neighbours.

        Raises:
            SpaceMismatchError: the query, or the fitted model, is of another space.
        """
        if not question.retriever:
            raise InvalidRequestError("expected the name of a retriever, got none")
        return await self._asking.ask(collection, question, timeout_s)

    async def verify(
        self,
        collection: str,
        question: Question,
        against: Reference,
        *,
        timeout_s: float | None = None,
    ) -> Verified:
        """Whether a query is the same as an item, or as a subject's items."""
        asked = _named(question, self.defaults.verify)
        answered, count = await self._asking.verify(collection, asked, against, timeout_s)
        return read(Verified, answered, of=count)

    async def locate(
        self, collection: str, question: Question, *, timeout_s: float | None = None
    ) -> Located:
        """Where a picture was taken, by the places of its neighbours."""
        asked = _named(question, self.defaults.locate)
        return read(Located, await self._asking.ask(collection, asked, timeout_s))

    async def vote(
        self, collection: str, question: Question, *, timeout_s: float | None = None
    ) -> Voted:
        """The label that the neighbours vote for."""
        asked = _named(question, self.defaults.vote)
        return read(Voted, await self._asking.ask(collection, asked, timeout_s))

    async def recognise(
        self, collection: str, question: Question, *, timeout_s: float | None = None
    ) -> Recognised:
        """Whether a query is like anything that is stored."""
        asked = _named(question, self.defaults.recognise)
        return read(Recognised, await self._asking.ask(collection, asked, timeout_s))

    async def associate(
        self, collection: str, question: Question, *, timeout_s: float | None = None
    ) -> Associated:
        """The pattern that a query recalls, with its energy."""
        asked = _named(question, self.defaults.associate)
        return read(Associated, await self._asking.ask(collection, asked, timeout_s))

    async def diagnose(
        self, collection: str, options: DiagnoseOptions, *, timeout_s: float | None = None
    ) -> Diagnosed:
        """Figures, intervals, curves and findings of a collection."""
        return await self._diagnosing.diagnose(collection, options, timeout_s)

    async def fit_map(
        self, collection: str, options: MapOptions, *, timeout_s: float | None = None
    ) -> MapInfo:
        """Fits a map between the collection's space and another model's, measured.

        Raises:
            InvalidRequestError: it finds too little on held-out queries, as the message says.
        """
        named = replace(options, retriever=options.retriever or self.defaults.map)
        return await self._spaces.fit_map(collection, named, timeout_s)

    async def start_migration(self, source: str, target: str, *, tenant: str = "") -> Transfer:
        """Fills a collection of a new model with mapped vectors of the old one's items."""
        return await self._spaces.start_migration(source, target, tenant)

    async def describe_transfer(self, target: str, *, tenant: str = "") -> Transfer:
        """How far a migration or a rotation into a collection has come."""
        return await self._transfers.describe(target, tenant)

    async def finish_migration(
        self, target: str, alias: str, *, tenant: str = "", least_native_share: float = 0.0
    ) -> Transfer:
        """Points an alias at the new collection."""
        return await self._transfers.finish(target, alias, tenant, least_native_share)

    async def rotate(
        self, collection: str, options: RotateOptions, *, timeout_s: float | None = None
    ) -> Rotated:
        """Makes a collection of the same items in a rotated space, whose prefixes make sense."""
        named = replace(options, retriever=options.retriever or self.defaults.rotation)
        return await self._spaces.rotate(collection, named, timeout_s)


def _named(question: Question, default: str) -> Question:
    return question if question.retriever else replace(question, retriever=default)


def _plugin(plugin: Retriever | Diagnostic, distribution: str) -> PluginInfo:
    if isinstance(plugin, Retriever):
        does = [part for part in PARTS if getattr(plugin, part) is not None]
    else:
        does = sorted(plugin.needs)
    return PluginInfo(
        name=plugin.name,
        kind="retriever" if isinstance(plugin, Retriever) else "diagnostic",
        summary=plugin.summary,
        paper=plugin.paper.url,
        distribution=distribution,
        does=does,
        defaults=plugin.defaults,
    )

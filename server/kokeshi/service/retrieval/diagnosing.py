"""Takes the measures of a collection, and puts their figures on the metrics page."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, Final

import numpy as np

from kokeshi import index, metrics
from kokeshi.errors import DimensionError, InvalidRequestError, NotFoundError
from kokeshi.plugin import Diagnostic, Findings, Sample, go_on, settle
from kokeshi.registry import Registry
from kokeshi.service.classify import check_k
from kokeshi.service.collections.ground import Ground
from kokeshi.service.retrieval.entrance import Vectors
from kokeshi.service.retrieval.fitting import draw_of, with_counterpart
from kokeshi.service.retrieval.jobs import Jobs
from kokeshi.service.retrieval.records import (
    Curve,
    Diagnosed,
    DiagnoseOptions,
    Measured,
    RetrievalLimits,
)
from kokeshi.service.retrieval.sampling import drawn_items, sample_of
from kokeshi.service.retrieval.showing import cut

LABELS: Final = "labels"


class Diagnosing:
    """The call that diagnoses.

    Args:
        ground: store and aliases.
        registry: of diagnostics.
        jobs: where they run.
        limits: see `RetrievalLimits`.
    """

    def __init__(
        self,
        ground: Ground,
        registry: Registry,
        jobs: Jobs,
        limits: RetrievalLimits,
    ) -> None:
        self._ground = ground
        self._registry = registry
        self._jobs = jobs
        self._limits = limits

    async def diagnose(
        self, collection: str, asked: DiagnoseOptions, timeout_s: float | None
    ) -> Diagnosed:
        """See `Retrieval.diagnose`."""
        chosen = self._chosen(asked)
        settings = self._settings(asked, chosen)
        check_k("items", asked.items, self._limits.max_sample_items, self._limits.max_sample_items)
        info = await self._ground.info(collection)
        other = (await self._ground.info(asked.other)).spec if asked.other else None
        queries = await self._queries(info.spec, asked, timeout_s)

        def work() -> Diagnosed:
            items = drawn_items(self._ground.store, info.spec.name, draw_of(self._limits, asked))
            sample = sample_of(info.spec, items, asked.labels, asked.seed)
            vectors = _compared(info.spec, sample.vectors)
            sample = replace(sample, vectors=vectors, queries=queries)
            results = [
                self._measured(each, sample, other, asked.tenant, settings[each.name])
                for each in chosen
            ]
            return Diagnosed(
                info.spec.name, info.spec.space, len(items), info.count, info.seq, results
            )

        answer = await self._jobs.run(work, timeout_s)
        if not asked.tenant:  # the page is everybody's, a tenant's figures are its own
            publish(answer)
        return answer

    def _settings(
        self, asked: DiagnoseOptions, chosen: Sequence[Diagnostic]
    ) -> dict[str, dict[str, Any]]:
        """Of each that is chosen, by name; what is given for others is checked all the same."""
        given = [self._registry.diagnostics[name] for name in asked.settings]
        return {
            each.name: settle(each, asked.settings.get(each.name, {})) for each in (*given, *chosen)
        }

    def _chosen(self, asked: DiagnoseOptions) -> list[Diagnostic]:
        known = self._registry.diagnostics
        unknown = [name for name in (*asked.diagnostics, *asked.settings) if name not in known]
        if unknown:
            names = ", ".join(sorted(known)) or "none"
            raise NotFoundError(f"no diagnostic named {unknown[0]!r}; there are: {names}")
        if asked.diagnostics:
            return [known[name] for name in dict.fromkeys(asked.diagnostics)]
        given = {"ids", *(name for name, is_there in _given(asked).items() if is_there)}
        return [each for each in known.values() if each.needs <= given]

    async def _queries(
        self, spec: index.CollectionSpec, asked: DiagnoseOptions, timeout_s: float | None
    ) -> Vectors | None:
        if not asked.queries:
            return None
        rows = await self._ground.vectors(
            spec, asked.model or spec.model, asked.queries, asked.space, timeout_s
        )
        if {len(row) for row in rows} != {spec.dim}:
            raise DimensionError(f"a query has {spec.dim} values, one has others")
        return _compared(spec, np.stack(rows))

    def _measured(
        self,
        diagnostic: Diagnostic,
        sample: Sample,
        other: index.CollectionSpec | None,
        tenant: str,
        settings: Mapping[str, object],
    ) -> Measured:
        """What one finds; a sample that cannot carry it does not keep the others from finding."""
        go_on()
        try:
            missing = [need for need in sorted(diagnostic.needs) if not _has(sample, other, need)]
            if missing:
                raise InvalidRequestError(f"expected {' and '.join(missing)}, got none")
            if "counterpart" in diagnostic.needs and other is not None:
                sample = with_counterpart(self._ground.store, sample, other, tenant)
            return told(diagnostic.name, diagnostic.measure(sample, settings))
        except InvalidRequestError as error:
            return Measured(diagnostic.name, refused=str(error))


def _compared(spec: index.CollectionSpec, vectors: Vectors) -> Vectors:
    """Vectors as the collection compares them: one that does by cosine sees no lengths."""
    return cut(vectors, spec.dim, is_unit=spec.metric == "cosine")


def told(name: str, findings: Findings) -> Measured:
    """Findings as the service tells of them; figures that are no number are left out."""
    return Measured(
        name,
        figures={key: value for key, value in findings.figures.items() if isfinite(value)},
        intervals={
            key: value for key, value in findings.intervals.items() if all(map(isfinite, value))
        },
        curves=[
            Curve(each.title, each.x_label, each.y_label, each.x, each.y, each.kind, each.names)
            for each in findings.curves
        ],
        flagged=dict(findings.flagged),
        advice=findings.advice,
    )


def publish(answer: Diagnosed) -> None:
    """Sets the gauges of a collection."""
    for result in answer.results:
        for figure, value in result.figures.items():
            labels = (answer.collection, result.diagnostic, figure)
            metrics.COLLECTION_DIAGNOSTIC.labels(*labels).set(value)


def _given(asked: DiagnoseOptions) -> Mapping[str, bool]:
    return {
        LABELS: bool(asked.labels),
        "queries": bool(asked.queries),
        "counterpart": bool(asked.other),
    }


def _has(sample: Sample, other: index.CollectionSpec | None, need: str) -> bool:
    there: Mapping[str, Sequence[object] | object | None] = {
        "ids": sample.ids,
        LABELS: any(sample.labels),
        "queries": sample.queries is not None,
        "counterpart": other,
    }
    return bool(there[need])

"""What a retriever is shown: neighbours and references, as their scores were computed."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from kokeshi import index
from kokeshi.errors import DimensionError
from kokeshi.plugin import Neighbours, Retriever
from kokeshi.service.retrieval.records import Fitted
from kokeshi.service.retrieval.sampling import matrix_of

Vectors = NDArray[np.float32]
SMALLEST_NORM: Final = 1e-30
REFERENCES: Final = "references"  # a setting: items of a subject that a fit counts on


def check_length(spec: index.CollectionSpec, dimension: int | None) -> None:
    """Refuses a prefix length that was not trained.

    Raises:
        DimensionError: it was not.
    """
    if dimension is not None and dimension not in spec.trained:
        trained = ", ".join(map(str, spec.trained))
        raise DimensionError(
            f"collection {spec.name!r} has dimensions {trained}, not {dimension!r}"
        )


def neighbours_of(
    spec: index.CollectionSpec,
    found: index.Found,
    hits: list[index.Hit],
    query: Vectors,
    retriever: Retriever,
    count: int,
) -> Neighbours:
    """Hits as a retriever sees them; vectors are cut and normalised as the scores were computed."""
    length, is_unit = found.dimension, spec.metric == "cosine"
    vectors = None
    if "vectors" in retriever.reads:
        rows = [hit.vector for hit in hits if hit.vector is not None]
        stacked = np.stack(rows) if rows else np.empty((0, length), np.float32)
        vectors = cut(stacked, length, is_unit=is_unit)
    return Neighbours(
        ids=tuple(hit.id for hit in hits),
        scores=np.array([hit.score for hit in hits], np.float32),
        metadata=tuple(hit.metadata for hit in hits),
        higher_is_better=found.higher_is_better,
        vectors=vectors,
        query=cut(query[None], length, is_unit=is_unit)[0] if "query" in retriever.reads else None,
        dimension=length,
        count=count,
    )


def references_of(items: list[index.Item], fitted: Fitted | None) -> list[index.Item]:
    """As many of a subject's items as the retriever was fitted on, where it has a setting for that.

    The best of forty are nearer than the best of three, to a stranger too: error rates hold for
    sets of the size that they were measured on. Which items are taken depends on the subject alone.
    """
    most = fitted.settings.get(REFERENCES) if fitted is not None else None
    if not isinstance(most, int) or len(items) <= most:
        return items
    seed = fitted.seed if fitted is not None else 0
    rows = np.random.default_rng(seed).choice(len(items), most, replace=False)
    return [items[row] for row in np.sort(rows)]


def compared(
    spec: index.CollectionSpec, items: list[index.Item], query: Vectors, dimension: int | None
) -> Neighbours:
    """Items with their cosines to a query at a prefix length, best first."""
    length = dimension or spec.dim
    vectors = cut(matrix_of(items, spec.dim), length, is_unit=True)
    unit = cut(query[None], length, is_unit=True)[0]
    scores = vectors @ unit
    order = np.argsort(-scores, kind="stable")
    return Neighbours(
        ids=tuple(items[row].id for row in order),
        scores=scores[order].astype(np.float32),
        metadata=tuple(items[row].metadata for row in order),
        vectors=vectors[order],
        query=unit,
        dimension=length,
        count=len(items),
    )


def cut(vectors: Vectors, length: int, *, is_unit: bool) -> Vectors:
    """Prefixes (n, length) of (n, at least length), made unit vectors where asked for."""
    prefixes = np.asarray(vectors[:, :length], np.float32)
    if not is_unit:
        return prefixes
    norms = np.linalg.norm(prefixes, axis=1, keepdims=True)
    return np.asarray(prefixes / np.maximum(norms, SMALLEST_NORM), np.float32)

"""The vectors of a search: of inputs, of stored items, of examples; all inputs embedded as one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kokeshi import index
from kokeshi.errors import InvalidRequestError
from kokeshi.service.collections.ground import Ground, given_vector
from kokeshi.service.search_types import Example, Examples, SearchOptions
from kokeshi.service.types import Input


@dataclass(frozen=True, eq=False)
class Queries:
    """What is searched for.

    Attributes:
        matrix: (queries, dim) float32.
        own: of each query, ids of the items that it was made of.
    """

    matrix: NDArray[np.float32]
    own: Sequence[frozenset[str]]


def given_queries(
    ground: Ground, spec: index.CollectionSpec, inputs: Sequence[Input], asked: SearchOptions
) -> Queries | None:
    """The queries of a search that are vectors of its space; None: some have yet to be made.

    Raises:
        InvalidRequestError: see `queries_of`.
    """
    _check_count(ground, inputs, asked)
    if asked.query_ids or asked.examples or asked.space != spec.space:
        return None
    rows = [vector for vector in map(given_vector, inputs) if vector is not None]
    if len(rows) < len(inputs):
        return None
    return Queries(_stacked(rows), [frozenset[str]() for _ in inputs])


async def queries_of(
    ground: Ground,
    spec: index.CollectionSpec,
    inputs: Sequence[Input],
    asked: SearchOptions,
    timeout_s: float | None,
) -> Queries:
    """The queries of a search, in the order of inputs, ids and examples.

    Raises:
        InvalidRequestError: there are none, too many, or of several lengths.
        ItemNotFoundError: an item that is a query or an example is unknown to the tenant.
    """
    _check_count(ground, inputs, asked)
    examples = [each for wanted in asked.examples for each in (*wanted.positive, *wanted.negative)]
    ids = [*asked.query_ids, *(each for each in examples if isinstance(each, str))]
    embedded = [*inputs, *(each for each in examples if not isinstance(each, str))]
    vectors = list(
        await ground.vectors(spec, asked.model or spec.model, embedded, asked.space, timeout_s)
        if embedded
        else ()
    )
    stored = await _stored(ground, spec, ids, asked.tenant)
    rows = vectors[: len(inputs)]
    rows += [stored[item_id] for item_id in asked.query_ids]
    rest = iter(vectors[len(inputs) :])
    for wanted in asked.examples:
        positive = [_vector(each, stored, rest) for each in wanted.positive]
        negative = [_vector(each, stored, rest) for each in wanted.negative]
        rows.append(recommended(spec, positive, negative))
    own = [frozenset[str]() for _ in inputs]
    own += [frozenset({item_id}) for item_id in asked.query_ids]
    own += [_ids(wanted) for wanted in asked.examples]
    return Queries(_stacked(rows), own)


def _stacked(rows: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    if len({len(row) for row in rows}) > 1:
        raise InvalidRequestError("the queries of one search have one length")
    return np.stack(rows)


def _check_count(ground: Ground, inputs: Sequence[Input], asked: SearchOptions) -> None:
    count = len(inputs) + len(asked.query_ids) + len(asked.examples)
    most = ground.limits.max_inputs
    if not 1 <= count <= most:
        raise InvalidRequestError(f"a search takes 1 to {most} queries, not {count}")
    given = sum(len(each.positive) + len(each.negative) for each in asked.examples)
    most = ground.collection_limits.max_examples
    if given > most:
        raise InvalidRequestError(f"a search takes at most {most} examples, not {given}")
    for each in asked.examples:
        if not each.positive:
            raise InvalidRequestError("examples need at least one positive one")


async def _stored(
    ground: Ground, spec: index.CollectionSpec, ids: Sequence[str], tenant: str
) -> dict[str, NDArray[np.float32]]:
    if not ids:
        return {}
    unique = list(dict.fromkeys(ids))
    items = await ground.call(
        lambda: ground.store.get(spec.name, unique, with_vectors=True, tenant=tenant)
    )
    return {item.id: np.asarray(item.vector, np.float32) for item in items}


def _vector(
    example: Example,
    stored: dict[str, NDArray[np.float32]],
    rest: Iterator[NDArray[np.float32]],
) -> NDArray[np.float32]:
    return stored[example] if isinstance(example, str) else next(rest)


def _ids(examples: Examples) -> frozenset[str]:
    return frozenset(
        each for each in (*examples.positive, *examples.negative) if isinstance(each, str)
    )


def recommended(
    spec: index.CollectionSpec,
    positive: Sequence[NDArray[np.float32]],
    negative: Sequence[NDArray[np.float32]],
) -> NDArray[np.float32]:
    """The query of examples, (dim,) float32; see `Examples`.

    Raises:
        InvalidRequestError: a vector is not of the full length, they cancel each other, or the
            metric is hyperbolic: a mean of points is no point between them, and a step away from
            it may leave the ball.
    """
    if spec.metric == "hyperbolic":
        raise InvalidRequestError("examples are averaged, which points of a ball cannot be")
    for vector in (*positive, *negative):
        if len(vector) != spec.dim:
            raise InvalidRequestError(
                f"an example has all {spec.dim} values of its vector, not {len(vector)}"
            )
    liked = _mean(spec, positive)
    query = liked if not negative else 2 * liked - _mean(spec, negative)
    if spec.metric == "cosine" and not np.any(np.abs(query) > 1e-6):  # noqa: PLR2004 - of unit vectors
        raise InvalidRequestError("the examples cancel each other and leave no direction")
    return query.astype(np.float32)


def _mean(
    spec: index.CollectionSpec, vectors: Sequence[NDArray[np.float32]]
) -> NDArray[np.float64]:
    rows = np.stack(vectors).astype(np.float64)
    if spec.metric == "cosine":
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    mean: NDArray[np.float64] = rows.mean(axis=0)
    return mean

"""Embeddings: cut to a trained prefix, renormalised, and written as asked."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kokeshi.card import Card, check_dimension
from kokeshi.contract import Task
from kokeshi.errors import InvalidRequestError
from kokeshi.service.run import Runner
from kokeshi.service.types import Embedded, Encoding, Input, ModelRef, Vector


async def vectors(
    runner: Runner,
    card: Card,
    inputs: Sequence[Input],
    timeout_s: float | None,
    positions: Sequence[int] = (),
) -> tuple[NDArray[np.float32], int]:
    """Full embeddings float32 (n, dim) as the graph gives them, and how many tokens were read.

    `positions` are those of `Runner.run`.
    """
    output = card.output_for(Task.EMBEDDING)
    ran = await runner.run(card, inputs, [output.name], timeout_s, positions)
    tokens = sum(_tokens(row.values) for row in ran.rows) if card.input.kind == "text" else 0
    return ran.outputs[output.name], tokens


def _tokens(ids: NDArray[Any]) -> int:
    return int(np.count_nonzero(ids))


async def embed(
    runner: Runner,
    model: str,
    inputs: Sequence[Input],
    *,
    version: int = 0,
    dimension: int | None = None,
    encoding: Encoding = Encoding.FLOAT32,
    normalised: bool | None = None,
    timeout_s: float | None = None,
) -> Embedded:
    """See `Service.embed`."""
    card = runner.card_for(model, version, inputs)
    output = card.output_for(Task.EMBEDDING, dimension)
    length = check_dimension(card.name, output, dimension)
    if normalised and output.metric == "hyperbolic":
        raise InvalidRequestError(
            f"model {card.name!r} gives points of a hyperbolic space, which are not normalised"
        )
    full, tokens = await vectors(runner, card, inputs, timeout_s)
    unit = output.normalised if normalised is None else normalised
    values = cut(full, length, unit)
    return Embedded(
        ModelRef(card.name, card.version),
        card.space,
        length,
        [encode(row, encoding) for row in values],
        tokens,
    )


def cut(full: NDArray[np.float32], length: int, unit: bool) -> NDArray[np.float32]:
    """The first `length` values of each row, made unit vectors where asked for.

    Matryoshka prefixes are normalised after the cut (Kusupati et al. 2022, arXiv 2205.13147).
    """
    values = np.array(full[:, :length], dtype=np.float32)  # a copy: never the caller's memory
    if unit:
        values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return values


def encode(values: NDArray[np.float32], encoding: Encoding) -> Vector:
    """One vector float32 (dim,) in the encoding asked for."""
    match encoding:
        case Encoding.FLOAT32:
            return Vector(values)
        case Encoding.FLOAT16:
            return Vector(data=values.astype("<f2").tobytes())
        case Encoding.INT8:
            scale = float(np.abs(values).max()) / 127 or 1.0
            return Vector(data=np.rint(values / scale).astype(np.int8).tobytes(), scale=scale)
        case Encoding.BINARY:
            return Vector(data=np.packbits(values > 0).tobytes())

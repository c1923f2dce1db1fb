"""How alike two inputs are, and whether they are the same by a calibrated threshold."""

import numpy as np
from numpy.typing import NDArray

from kokeshi.card import Card, check_dimension
from kokeshi.contract import Output, Task
from kokeshi.errors import SpaceMismatchError
from kokeshi.index.geometry import Geometry
from kokeshi.service.embed import cut, vectors
from kokeshi.service.run import Runner, together
from kokeshi.service.types import Compared, Input, ModelRef, Verdict


async def compare(
    runner: Runner,
    model: str,
    left: Input,
    right: Input,
    *,
    version: int = 0,
    dimension: int | None = None,
    timeout_s: float | None = None,
) -> Compared:
    """See `Service.compare`."""
    cards = [runner.card_for(model, version, [item]) for item in (left, right)]
    card = cards[0]
    if cards[1].space != card.space:
        raise SpaceMismatchError(f"spaces {card.space} and {cards[1].space} do not compare")
    output = card.output_for(Task.EMBEDDING, dimension)
    length = check_dimension(card.name, output, dimension)
    pairs = zip(cards, (left, right), strict=True)
    full = await together(vectors(runner, each, [item], timeout_s) for each, item in pairs)
    a, b = (cut(values, length, output.normalised)[0] for values, _ in full)
    norms = max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12)
    similarity = float(np.clip(np.dot(a, b) / norms, -1, 1))
    verdict, threshold = _decide(card, length, similarity)
    return Compared(
        ModelRef(card.name, card.version),
        card.space,
        length,
        similarity,
        _distance(output, a, b),
        verdict,
        threshold,
    )


def _distance(output: Output, a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """L2, or the distance in the ball that both are points of."""
    if output.metric != "hyperbolic":
        return float(np.linalg.norm(a - b))
    geometry = Geometry(output.metric, output.shape, output.curvature)
    return float(-geometry.compare(a[None], geometry.query(b, len(b)))[0])


def _decide(card: Card, length: int, similarity: float) -> tuple[Verdict, float | None]:
    for threshold in card.thresholds:
        if threshold.dimension == length:
            same = similarity >= threshold.similarity
            return (Verdict.SAME if same else Verdict.DIFFERENT), threshold.similarity
    return Verdict.NONE, None

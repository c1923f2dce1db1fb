"""Class names with scores: by a classifier's own head, or zero-shot by two towers."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kokeshi.card import Card
from kokeshi.contract import Meaning, Task
from kokeshi.errors import InvalidRequestError, WrongTaskError
from kokeshi.service.embed import cut, vectors
from kokeshi.service.run import TEXT, Runner
from kokeshi.service.types import (
    Classification,
    Classified,
    Input,
    Label,
    Limits,
    ModelRef,
    Text,
)

TOP_K: Final = 5
MULTI_LABEL_THRESHOLD: Final = 0.5
TEMPLATE: Final = "a photo of a {}."  # CLIP's own, arXiv 2103.00020, section 3.1.4
MAX_PROMPTS: Final = 10_000  # labels times templates of one call


class Classifier:
    """Answers `classify`.

    Args:
        runner: runs the graphs.
        limits: sizes that requests must keep.
    """

    def __init__(self, runner: Runner, limits: Limits) -> None:
        self._runner = runner
        self._limits = limits

    async def __call__(
        self,
        model: str,
        inputs: Sequence[Input],
        *,
        version: int = 0,
        top_k: int | None = None,
        threshold: float | None = None,
        dimension: int | None = None,
        labels: Sequence[str] = (),
        templates: Sequence[str] = (),
        timeout_s: float | None = None,
    ) -> Classified:
        """See `Service.classify`."""
        k = check_k("top_k", top_k, TOP_K, self._limits.max_k)
        if threshold is not None and not 0 <= threshold <= 1:
            raise InvalidRequestError(f"threshold is from 0 to 1, not {threshold}")
        card = self._runner.card_for(model, version, inputs)
        names: Sequence[str]
        if labels and TEXT in card.parts:
            names, multi = labels, False
            scores = await self._zero_shot(card, inputs, labels, templates, timeout_s)
        else:
            if labels or templates:
                raise WrongTaskError(f"model {model!r} has classes of its own and takes no labels")
            names, multi, scores = await self._by_head(card, inputs, dimension, timeout_s)
        least = threshold if threshold is not None else MULTI_LABEL_THRESHOLD if multi else 0.0
        results = [Classification(best(row, names, k, least), multi) for row in scores]
        return Classified(ModelRef(card.name, card.version), results)

    async def _by_head(
        self, card: Card, inputs: Sequence[Input], dimension: int | None, timeout_s: float | None
    ) -> tuple[Sequence[str], bool, NDArray[np.float32]]:
        if TEXT in card.parts and Task.CLASSIFICATION not in card.tasks:
            raise InvalidRequestError(f"model {card.name!r} classifies among labels that you give")
        output = card.output_for(Task.CLASSIFICATION, dimension)
        ran = await self._runner.run(card, inputs, [output.name], timeout_s)
        names = card.labels or [f"class {index}" for index in range(output.shape[-1])]
        return names, output.meaning is Meaning.SCORES, ran.outputs[output.name]

    async def _zero_shot(
        self,
        card: Card,
        inputs: Sequence[Input],
        labels: Sequence[str],
        templates: Sequence[str],
        timeout_s: float | None,
    ) -> NDArray[np.float32]:
        """Softmax over scaled cosines to the mean prompt of each label (CLIP, section 3.1)."""
        prompts = _prompts(labels, templates or [TEMPLATE])
        text_card = self._runner.card(card.parts[TEXT], card.version, TEXT)
        flat = [Text(prompt) for row in prompts for prompt in row]
        told, _ = await vectors(self._runner, text_card, flat, timeout_s)
        width = told.shape[1]
        classes = told.reshape(len(labels), -1, width).mean(axis=1)
        seen, _ = await vectors(self._runner, card, inputs, timeout_s)
        logits = (card.logit_scale or 1.0) * (cut(seen, width, True) @ cut(classes, width, True).T)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


def _prompts(labels: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    if len(labels) * len(templates) > MAX_PROMPTS:
        raise InvalidRequestError(
            f"{len(labels)} labels times {len(templates)} templates exceed {MAX_PROMPTS} prompts"
        )
    for template in templates:
        if "{}" not in template:
            raise InvalidRequestError(f"template {template!r} has no {{}} for the label")
    if len(set(labels)) < len(labels):
        raise InvalidRequestError("labels are given twice")
    return [[template.replace("{}", label) for template in templates] for label in labels]


def best(
    scores: NDArray[np.float32], names: Sequence[str], k: int, least: float
) -> tuple[Label, ...]:
    """The `k` best labels of one row that score at least `least`, best first."""
    order = np.argsort(-scores, kind="stable")[:k]
    return tuple(
        Label(names[index], int(index), float(scores[index]))
        for index in order
        if scores[index] >= least
    )


def check_k(name: str, k: int | None, default: int, most: int) -> int:
    """A count asked for, or the default.

    Raises:
        InvalidRequestError: it is not from 1 to `most`.
    """
    if k is None:
        return min(default, most)
    if not 1 <= k <= most:
        raise InvalidRequestError(f"{name} is from 1 to {most}, not {k}")
    return k

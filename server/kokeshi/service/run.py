"""From inputs to the outputs of a graph: finds the part that takes them, prepares and runs them."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from kokeshi import metrics
from kokeshi.card import Card
from kokeshi.contract import ImageInput, TextInput
from kokeshi.engines.protocol import Engine, Request
from kokeshi.errors import (
    DeadlineError,
    InvalidRequestError,
    KokeshiError,
    ModelNotFoundError,
    WrongTaskError,
)
from kokeshi.images import Geometry, ImagePool
from kokeshi.service.types import Audio, Image, Input, Limits, Tensor, Text
from kokeshi.text import TextEncoder

# The role of the part that takes each kind of input, in methods of several graphs.
IMAGE: Final = "image"
TEXT: Final = "text"
T = TypeVar("T")
_Numbered = tuple[int | None, Input]  # None: the only one of its call


@dataclass(frozen=True)
class Row:
    """One input after preparation: what the graph takes, and how to map its answer back."""

    values: NDArray[Any]
    geometry: Geometry | None = None  # images that were decoded here


@dataclass(frozen=True)
class Ran:
    """Outputs for all inputs of a call, by name, each (n, ...)."""

    card: Card
    rows: Sequence[Row]
    outputs: dict[str, NDArray[Any]]


class Runner:
    """Prepares inputs and runs graphs on them.

    Args:
        engine: runs the graphs.
        images: decodes and resizes.
        limits: sizes that requests must keep.
    """

    def __init__(self, engine: Engine, images: ImagePool, limits: Limits) -> None:
        self._engine = engine
        self._images = images
        self._limits = limits
        self._encoders: dict[str, TextEncoder] = {}  # by the tokeniser's sha256

    def card(self, model: str, version: int = 0, kind: str = IMAGE) -> Card:
        """The card of the graph that takes this kind of input.

        `model` is a model's name, or the common name of the parts of a method of several graphs
        (`clip` for `clip.image` and `clip.text`).

        Raises:
            ModelNotFoundError: no such model.
            WrongTaskError: it does not take this kind of input.
        """
        try:
            card = self._engine.card(model, version)
        except ModelNotFoundError as error:
            card = self._part(model, version, kind, error)
        if card.input.kind == kind:
            return card
        if kind in card.parts:
            return self._engine.card(card.parts[kind], version)
        raise WrongTaskError(f"model {model!r} takes {_kinds(card)}, not {kind}")

    def _part(self, model: str, version: int, kind: str, error: ModelNotFoundError) -> Card:
        for role in (kind, IMAGE, TEXT):
            try:
                return self._engine.card(f"{model}.{role}", version)
            except ModelNotFoundError:
                continue
        raise error

    def card_for(self, model: str, version: int, inputs: Sequence[Input]) -> Card:
        """The card of the graph that takes these inputs, which must be of one kind.

        Raises:
            InvalidRequestError: no inputs, too many, or of several kinds.
        """
        count = len(inputs)
        if not 1 <= count <= self._limits.max_inputs:
            raise InvalidRequestError(
                f"a call takes 1 to {self._limits.max_inputs} inputs, not {count}"
            )
        kinds = {kind_of(item) for item in inputs}
        if len(kinds) > 1:
            raise InvalidRequestError(f"inputs of one call are of one kind, not {sorted(kinds)}")
        return self.card(model, version, kinds.pop())

    async def run(
        self,
        card: Card,
        inputs: Sequence[Input],
        outputs: Sequence[str],
        timeout_s: float | None,
        positions: Sequence[int] = (),
        *,
        priority: int = 0,
        queue_timeout_s: float | None = None,
    ) -> Ran:
        """Runs a graph on every input, in batches as large as the model takes.

        Args:
            card: of the graph.
            inputs: of the kind that the graph takes.
            outputs: names of those wanted.
            timeout_s: the caller's deadline.
            positions: of the inputs in the client's call, where they are a part of it; an error
                names them.
            priority: as of `Request`.
            queue_timeout_s: as of `Request`.

        Raises:
            DeadlineError: `timeout_s` passed.
        """
        try:
            async with asyncio.timeout(timeout_s) as deadline:
                rows = await self.prepare(card, inputs, positions)
                request = Request(
                    card.name,
                    {},
                    outputs=outputs,
                    version=card.version,
                    timeout_s=_left_s(deadline),
                    priority=priority,
                    queue_timeout_s=queue_timeout_s,
                )
                answers = await self._infer(card, rows, request)
        except TimeoutError:
            metrics.REFUSED.labels(card.name, "deadline").inc()
            raise DeadlineError(f"model {card.name!r} did not answer in time") from None
        whole = answers[0] if len(answers) == 1 else await asyncio.to_thread(_joined, answers)
        return Ran(card, rows, whole)

    async def encode(self, work: Callable[[], T]) -> T:
        """Runs what makes an answer of a map, away from the event loop."""
        return await self._images.encode(work)

    async def _infer(
        self, card: Card, rows: Sequence[Row], request: Request
    ) -> list[dict[str, NDArray[Any]]]:
        """Outputs of each batch of a request that lacks its inputs."""
        size = self._engine.max_rows(card.name, card.version)

        async def infer(batch: Sequence[Row]) -> dict[str, NDArray[Any]]:
            inputs = {card.input.name: await _stacked(batch)}
            return await self._engine.infer(replace(request, inputs=inputs))

        return await together(
            infer(rows[start : start + size]) for start in range(0, len(rows), size)
        )

    async def prepare(
        self, card: Card, inputs: Sequence[Input], positions: Sequence[int]
    ) -> Sequence[Row]:
        """What the graph takes for each input; an error names the input's position."""
        started_s = time.perf_counter()
        names = positions or (range(len(inputs)) if len(inputs) > 1 else (None,))
        numbered = list(zip(names, inputs, strict=True))
        try:
            if isinstance(card.input, TextInput):
                # one thread for all of them: each is quick, and a call may bring ten thousand
                return await asyncio.to_thread(self._text_rows, card, card.input, numbered)
            return await self._image_rows(card, card.input, numbered)
        finally:
            taken_s = time.perf_counter() - started_s
            metrics.STAGE_SECONDS.labels("decode", card.name).observe(taken_s)

    async def _image_rows(
        self, card: Card, contract: ImageInput, numbered: Sequence[_Numbered]
    ) -> Sequence[Row]:
        tasks = [asyncio.create_task(self._image_row(card, contract, item)) for _, item in numbered]
        rows = []
        try:
            for (position, _), task in zip(numbered, tasks, strict=True):
                with _naming(position):
                    rows.append(await task)
            return rows
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _image_row(self, card: Card, contract: ImageInput, item: Input) -> Row:
        if isinstance(item, Image):
            prepared = await self._images.prepare(item.data, contract)
            return Row(prepared.pixels, prepared.geometry)
        return _raw_row(card, item, (contract.height, contract.width, 3))

    def _text_rows(
        self, card: Card, contract: TextInput, numbered: Sequence[_Numbered]
    ) -> Sequence[Row]:
        rows = []
        for position, item in numbered:
            with _naming(position):
                if isinstance(item, Text):
                    rows.append(Row(self._encoder(card, contract).encode([item.text])[0]))
                else:
                    rows.append(_raw_row(card, item, (contract.context_length,)))
        return rows

    def _encoder(self, card: Card, contract: TextInput) -> TextEncoder:
        digest = contract.tokenizer_sha256
        if digest not in self._encoders:
            file = self._engine.file(card.name, contract.tokenizer)
            self._encoders[digest] = TextEncoder(file, contract)
        return self._encoders[digest]


def kind_of(item: Input) -> str:
    """Which input of a model takes this: "image", "text" or "audio"."""
    match item:
        case Image():
            return IMAGE
        case Text():
            return TEXT
        case Audio():
            return "audio"
        case Tensor(array=array):
            return _kind_of_tensor(array)


def _kind_of_tensor(array: NDArray[Any]) -> str:
    """A tensor stands for what it can be: pixels, or token ids."""
    match array.ndim, array.dtype:
        case 3, np.uint8:
            return IMAGE
        case 1, np.int64:
            return TEXT
    raise InvalidRequestError(
        "a tensor for a model is uint8 (height, width, 3) or int64 (length,), "
        f"not {array.dtype} {array.shape}"
    )


def _raw_row(card: Card, item: Input, shape: tuple[int, ...]) -> Row:
    """A tensor as it came."""
    if not isinstance(item, Tensor):
        raise WrongTaskError(f"model {card.name!r} takes {card.input.kind}, not {kind_of(item)}")
    if item.array.shape != shape:
        raise InvalidRequestError(f"model {card.name!r} takes {shape}, not {item.array.shape}")
    return Row(item.array)


def _kinds(card: Card) -> str:
    return " and ".join(sorted({card.input.kind, *card.parts} - {"main"}))


@contextmanager
def _naming(position: int | None) -> Iterator[None]:
    """Puts the position of an input into what went wrong with it; None: it was the only one."""
    try:
        yield
    except KokeshiError as error:
        if position is not None:
            error.args = (f"input {position}: {error}",)
        raise


def _left_s(deadline: asyncio.Timeout) -> float | None:
    until_s = deadline.when()
    return None if until_s is None else max(until_s - asyncio.get_running_loop().time(), 1e-3)


async def _stacked(rows: Sequence[Row]) -> NDArray[Any]:
    """A batch (n, ...) of rows (...); a batch may be hundreds of megabytes, which take a while."""
    if len(rows) == 1:
        return rows[0].values[None]
    return await asyncio.to_thread(np.stack, [row.values for row in rows])


def _joined(answers: Sequence[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Outputs of consecutive batches, by name, as those of one."""
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


async def together(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Answers of calls that run at once, in order; when one fails the others are given up."""
    tasks = [asyncio.create_task(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()

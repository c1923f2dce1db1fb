"""Tensors by name, as KServe v2 speaks of them: straight to the engine, pictures and texts first.

A model whose card has an image input also takes encoded images for it, of any size, mixed in one
request: an object array of bytes, (n,) or (n, 1), in place of uint8 (n, height, width, 3). A text
tower likewise takes texts, in UTF-8, in place of token ids.
"""

import asyncio
import concurrent.futures
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from numpy.typing import NDArray

from kokeshi.card import Card
from kokeshi.contract import ImageInput
from kokeshi.engines.protocol import Done, Engine, Request, Watch, answers_soon, infer_soon
from kokeshi.errors import (
    CancelledError,
    InvalidRequestError,
    KokeshiError,
    WrongTaskError,
)
from kokeshi.service.run import Runner
from kokeshi.service.types import Image, Input, Limits, Text

Outputs = dict[str, NDArray[Any]]
Running = concurrent.futures.Future[Outputs]
_MAX_ENCODED_AXES: Final = 2  # (n,) or (n, 1)
_OBJECT: Final = "O"  # numpy's letter for arrays of bytes


class Tensors:
    """Runs requests that come as tensors.

    Args:
        engine: runs the graphs.
        runner: decodes images and encodes texts.
        limits: sizes that requests must keep.
    """

    def __init__(self, engine: Engine, runner: Runner, limits: Limits) -> None:
        self._engine = engine
        self._runner = runner
        self._limits = limits
        self._loop: asyncio.AbstractEventLoop | None = None
        # whether `infer_soon` returns before the answer is there
        self.answers_soon = answers_soon(engine)

    def start(self) -> None:
        """Remembers the event loop, on which images are decoded for `infer_now`."""
        self._loop = asyncio.get_running_loop()

    async def infer(self, request: Request) -> Outputs:
        """As `Engine.infer`; encoded images and texts of more than one batch are split and joined.

        Raises:
            InvalidImageError: with the position of the image in the request.
        """
        encoded = self._encoded(request)
        if encoded is None:
            return await self._engine.infer(request)
        return await self._run(request, *encoded)

    def infer_now(self, request: Request, watch: Watch | None = None) -> Outputs:
        """As `infer`, blocking the calling thread, which must not be the event loop's.

        Args:
            request: what to run.
            watch: given a function, to be called from any thread when the caller has left.

        Raises:
            CancelledError: that was called.
        """
        encoded = self._encoded(request)
        if encoded is None:
            return self._engine.infer_now(request, watch)
        future = self._begin(self._run(request, *encoded), watch)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise _left(request) from None

    def infer_soon(self, request: Request, done: Done, watch: Watch | None = None) -> None:
        """As `infer_now`, calling back in place of waiting: see `AnswersSoon.infer_soon`."""
        try:
            encoded = self._encoded(request)
        except KokeshiError as error:
            done(error)
            return
        if encoded is None:
            infer_soon(self._engine, request, done, watch)
            return
        loop = self._loop
        assert loop is not None  # start() found it

        def over(future: Running) -> None:
            if future.cancelled():  # on the thread that did
                done(_left(request))
            else:  # on the event loop, and a large answer takes its time to be written
                loop.run_in_executor(None, _tell, future, done)

        self._begin(self._run(request, *encoded), watch).add_done_callback(over)

    def _begin(self, work: Coroutine[Any, Any, Outputs], watch: Watch | None) -> Running:
        """Runs a coroutine on the event loop, until it ends or the caller has left."""
        assert self._loop is not None  # start() found it
        future = asyncio.run_coroutine_threadsafe(work, self._loop)

        def leave() -> None:
            future.cancel()

        if watch is not None:
            watch(leave)
        return future

    def _encoded(self, request: Request) -> tuple[Card, Sequence[Input]] | None:
        """The card and its inputs, where the graph's own input comes encoded."""
        if not _has_bytes(request):
            return None
        try:
            card = self._engine.card(request.model, request.version)
        except WrongTaskError:  # there is no card: the graph itself takes strings
            return None
        values = request.inputs.get(card.input.name)
        if values is None or len(request.inputs) != 1 or values.dtype.char != _OBJECT:
            return None
        return card, self._items(card, values)

    def _items(self, card: Card, values: NDArray[Any]) -> Sequence[Input]:
        name = card.input.name
        if values.ndim not in {1, _MAX_ENCODED_AXES} or values.size != len(values):
            raise InvalidRequestError(
                f"encoded {card.input.kind}s for input {name!r} are of shape [n] or [n,1], "
                f"not {list(values.shape)}"
            )
        if not 1 <= values.size <= self._limits.max_inputs:
            raise InvalidRequestError(
                f"a call takes 1 to {self._limits.max_inputs} inputs, not {values.size}"
            )
        items: list[bytes] = values.ravel().tolist()
        if isinstance(card.input, ImageInput):
            return [Image(item) for item in items]
        return [_text(place, item) for place, item in enumerate(items)]

    async def _run(self, request: Request, card: Card, items: Sequence[Input]) -> Outputs:
        ran = await self._runner.run(
            card,
            items,
            request.outputs,
            request.timeout_s,
            priority=request.priority,
            queue_timeout_s=request.queue_timeout_s,
        )
        return ran.outputs


def _left(request: Request) -> CancelledError:
    return CancelledError(f"the caller of model {request.model!r} has left")


def _tell(future: Running, done: Done) -> None:
    error = future.exception()
    done(future.result() if not isinstance(error, Exception) else error)


def _has_bytes(request: Request) -> bool:
    return _OBJECT in [values.dtype.char for values in request.inputs.values()]


def _text(place: int, data: bytes) -> Text:
    try:
        return Text(data.decode())
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"input {place}: the text is not UTF-8") from error

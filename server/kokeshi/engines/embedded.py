"""The embedded engine: runs a model repository in this process on ONNX Runtime."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from kokeshi import metrics
from kokeshi.card import Card
from kokeshi.contract import ImageInput, TextInput
from kokeshi.engines.config import ModelConfig
from kokeshi.engines.protocol import ModelStatus, State, Tensors
from kokeshi.engines.repository import Entry, Unreadable, scan
from kokeshi.engines.scheduler import Policy, Scheduler
from kokeshi.errors import (
    ArtefactError,
    InvalidRequestError,
    ModelNotFoundError,
    SetupError,
    UnavailableError,
)

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

logger = logging.getLogger(__name__)

# Best first; those that this installation of ONNX Runtime has are used.
PROVIDERS: Final = ("CUDAExecutionProvider", "CPUExecutionProvider")


@dataclass(eq=False)
class _Loaded:
    """A version that answers."""

    card: Card
    config: ModelConfig
    folder: Path
    scheduler: Scheduler


class EmbeddedEngine:
    """See `Engine`.

    Args:
        repository: folder of model folders.
        threads: cores that one batch may use.
        allow_untrained: serve models whose weights are random.
    """

    name = "embedded"

    def __init__(self, repository: Path, *, threads: int, allow_untrained: bool = False) -> None:
        self._repository = repository
        self._threads = threads
        self._allow_untrained = allow_untrained
        self._statuses: dict[tuple[str, int], ModelStatus] = {}
        self._loaded: dict[tuple[str, int], _Loaded] = {}
        self._present: set[tuple[str, int]] = set()
        self._executor: ThreadPoolExecutor | None = None

    async def start(self) -> None:
        """See `Engine.start`."""
        found = list(scan(self._repository))
        entries = [entry for entry in found if isinstance(entry, Entry)]
        self._present = {(entry.name, entry.version) for entry in entries}
        for unreadable in (entry for entry in found if isinstance(entry, Unreadable)):
            self._fail(ModelStatus(unreadable.name, 0, State.LOADING), unreadable.reason)
        running = sum(_policy(entry.config).instances for entry in entries)
        self._executor = ThreadPoolExecutor(max(1, running), thread_name_prefix="infer")
        await asyncio.gather(*(self._load(entry) for entry in entries))

    async def _load(self, entry: Entry) -> None:
        status = ModelStatus(entry.name, entry.version, State.LOADING)
        self._statuses[entry.name, entry.version] = status
        try:
            card = await asyncio.to_thread(entry.card)
            status = replace(status, card=card)
            session = await asyncio.to_thread(self._open, entry, card)
            self._statuses[entry.name, entry.version] = replace(status, state=State.WARMING)
            await asyncio.to_thread(_warm_up, session, card)
        except SetupError as error:
            self._fail(status, str(error))
        except Exception:
            logger.exception("model %s version %d cannot be loaded", entry.name, entry.version)
            self._fail(status, "the graph cannot be loaded; the server's log says why")
        else:
            self._serve(entry, card, session)

    def _open(self, entry: Entry, card: Card) -> "InferenceSession":
        if not (card.checkpoint.trained or self._allow_untrained):
            raise ArtefactError("untrained weights are for tests; --allow-untrained serves them")
        for part in card.parts.values():
            if (part, card.version) not in self._present:
                raise ArtefactError(f"its part {part!r} of version {card.version} is missing")
        entry.check_graph(card)
        entry.check_tokenizer(card)
        return _session(entry.graph, self._threads)

    def _serve(self, entry: Entry, card: Card, session: "InferenceSession") -> None:
        assert self._executor is not None  # start() made it
        key = entry.name, entry.version
        scheduler = Scheduler(
            entry.name, lambda inputs: _run(session, inputs), _policy(entry.config), self._executor
        )
        scheduler.start()
        self._loaded[key] = _Loaded(card, entry.config, entry.folder, scheduler)
        self._statuses[key] = ModelStatus(*key, State.READY, card=card)
        metrics.MODEL_READY.labels(entry.name, entry.version).set(1)
        logger.info("model %s version %d is ready", *key)

    def _fail(self, status: ModelStatus, reason: str) -> None:
        logger.error("model %s is not served: %s", status.name, reason)
        key = status.name, status.version
        self._statuses[key] = replace(status, state=State.FAILED, reason=reason)
        metrics.MODEL_READY.labels(*key).set(0)

    async def close(self) -> None:
        """See `Engine.close`."""
        loaded, self._loaded = self._loaded, {}
        for name, version in loaded:
            metrics.MODEL_READY.labels(name, version).set(0)
        await asyncio.gather(*(entry.scheduler.close() for entry in loaded.values()))
        self._statuses.clear()
        if self._executor is not None:
            self._executor.shutdown()

    def providers(self) -> Sequence[str]:
        """See `Engine.providers`."""
        return available_providers()

    def models(self) -> Sequence[ModelStatus]:
        """See `Engine.models`."""
        return [self._statuses[key] for key in sorted(self._statuses)]

    def card(self, model: str, version: int = 0) -> Card:
        """See `Engine.card`."""
        return self._find(model, version).card

    def max_rows(self, model: str, version: int = 0) -> int:
        """See `Engine.max_rows`."""
        return max(1, self._find(model, version).config.max_batch_size)

    def file(self, model: str, name: str) -> bytes:
        """See `Engine.file`."""
        return (self._find(model, 0).folder / Path(name).name).read_bytes()

    async def infer(
        self,
        model: str,
        inputs: Tensors,
        *,
        outputs: Sequence[str] = (),
        version: int = 0,
        timeout_s: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        """See `Engine.infer`."""
        loaded = self._find(model, version)
        rows = _check_inputs(loaded.card, inputs, max(1, loaded.config.max_batch_size))
        _check_outputs(loaded.card, outputs)
        result = await loaded.scheduler.submit(inputs, rows, timeout_s)
        return {name: result[name] for name in outputs or result}

    def _find(self, model: str, version: int) -> _Loaded:
        if version:
            return self._state_of(model, version)
        # copies: a thread may ask for a file while the loop loads models
        versions = [number for name, number in tuple(self._loaded) if name == model]
        if versions:
            return self._loaded[model, max(versions)]
        known = [number for name, number in tuple(self._statuses) if name == model]
        return self._state_of(model, max(known, default=0))

    def _state_of(self, model: str, version: int) -> _Loaded:
        if loaded := self._loaded.get((model, version)):
            return loaded
        status = self._statuses.get((model, version))
        if status is None:
            which = f"model named {model!r}" + (f" with version {version}" if version else "")
            raise ModelNotFoundError(f"no {which}")
        why = f": {status.reason}" if status.reason else ""
        raise UnavailableError(f"model {model!r} is {status.state}{why}")


def available_providers() -> list[str]:
    """Those of `PROVIDERS` that the installed ONNX Runtime has."""
    import onnxruntime

    present = onnxruntime.get_available_providers()
    return [provider for provider in PROVIDERS if provider in present]


def _session(graph: Path, threads: int) -> "InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors: failures are reported by exception
    # Spinning threads of one model would take the cores from the others and from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=available_providers())


def _run(session: "InferenceSession", inputs: Tensors) -> dict[str, NDArray[Any]]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _policy(config: ModelConfig) -> Policy:
    batching = config.dynamic_batching
    instances = sum(group.count or 1 for group in config.instance_group) or 1
    if batching is None:
        return Policy(max_rows=max(1, config.max_batch_size), instances=instances)
    queue = batching.default_queue_policy
    timeout_us = queue.default_timeout_microseconds if queue else 0
    return Policy(
        max_rows=max(1, config.max_batch_size),
        merge=config.max_batch_size > 0,
        preferred_rows=tuple(batching.preferred_batch_size),
        max_queue_delay_s=batching.max_queue_delay_microseconds / 1e6,
        max_queue_requests=queue.max_queue_size if queue else 0,
        default_timeout_s=timeout_us / 1e6 if timeout_us else None,
        instances=instances,
    )


def _warm_up(session: "InferenceSession", card: Card) -> None:
    shape, dtype = _row(card)
    _run(session, {card.input.name: np.zeros((1, *shape), dtype)})


def _row(card: Card) -> tuple[tuple[int, ...], type[np.generic]]:
    """Shape and dtype of one row of a model's input."""
    match card.input:
        case ImageInput(height=height, width=width):
            return (height, width, 3), np.uint8
        case TextInput(context_length=length):
            return (length,), np.int64


def _check_inputs(card: Card, inputs: Tensors, max_rows: int) -> int:
    """Number of rows of a request that fits the card."""
    name = card.input.name
    if set(inputs) != {name}:
        raise InvalidRequestError(
            f"model {card.name!r} takes the input {name!r}, not {_names(inputs)}"
        )
    tensor = inputs[name]
    shape, dtype = _row(card)
    if tensor.shape[1:] != shape or tensor.dtype != dtype or tensor.ndim != len(shape) + 1:
        raise InvalidRequestError(
            f"input {name!r} of model {card.name!r} is {np.dtype(dtype)} (n, "
            f"{', '.join(map(str, shape))}), not {tensor.dtype} {tensor.shape}"
        )
    if not 1 <= len(tensor) <= max_rows:
        raise InvalidRequestError(
            f"model {card.name!r} takes 1 to {max_rows} rows at once, not {len(tensor)}"
        )
    return len(tensor)


def _check_outputs(card: Card, outputs: Sequence[str]) -> None:
    known = {output.name for output in card.outputs}
    if unknown := set(outputs) - known:
        raise InvalidRequestError(
            f"model {card.name!r} has the outputs {_names(known)}, not {_names(unknown)}"
        )


def _names(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names)) or "none"

"""The service: what Kokeshi does, in front of engines and collections and behind both doors."""

import time
from collections.abc import Mapping, Sequence

from kokeshi import __version__, metrics
from kokeshi.card import Card
from kokeshi.engines.config import ModelConfig
from kokeshi.engines.protocol import Engine, ModelStatus, State
from kokeshi.engines.statistics import ModelStatistics
from kokeshi.errors import ModelNotFoundError
from kokeshi.images import ImagePool
from kokeshi.index import Store
from kokeshi.index.notes import Notes
from kokeshi.registry import Registry
from kokeshi.service import compare, embed, segment
from kokeshi.service.classify import Classifier
from kokeshi.service.collections import CollectionCalls, Collections, Dials
from kokeshi.service.retrieval import Retrieval
from kokeshi.service.retrieval.records import RetrievalLimits
from kokeshi.service.run import Runner
from kokeshi.service.swaps import survives_swaps
from kokeshi.service.tensors import Tensors
from kokeshi.service.types import (
    Classified,
    CollectionLimits,
    Compared,
    Embedded,
    Encoding,
    Input,
    Limits,
    MaskFormat,
    ModelInfo,
    Segmented,
    ServerInfo,
)


class Service(CollectionCalls):
    """Every call of the API.

    Args:
        engine: runs the graphs; started and closed by `start` and `close`.
        images: decodes and resizes.
        store: keeps collections.
        limits: sizes that requests must keep.
        notes: keep aliases of collections; closed with the store. None: there are none.
        dials: choose the depth of searches by what was measured; None: nothing is.
        collection_limits: sizes that calls of collections must keep.
        registry: of retrievers and diagnostics; None: there are none.
        retrieval_limits: sizes that calls of those must keep.

    Every call that names a model raises ModelNotFoundError, UnavailableError, WrongTaskError,
    OverloadedError, DeadlineError and InferenceError as `Engine` does, and InvalidRequestError with
    its children for what can never be right; `timeout_s` is the caller's deadline.
    """

    def __init__(
        self,
        engine: Engine,
        images: ImagePool,
        store: Store,
        limits: Limits,
        *,
        notes: Notes | None = None,
        dials: Dials | None = None,
        collection_limits: CollectionLimits | None = None,
        registry: Registry | None = None,
        retrieval_limits: RetrievalLimits | None = None,
    ) -> None:
        self.limits = limits
        self._engine = engine
        self._images = images
        self._runner = Runner(engine, images, limits)
        self.tensors = Tensors(engine, self._runner, limits)
        self._classifier = Classifier(self._runner, limits)
        self._collections = Collections(
            self._runner,
            store,
            limits,
            notes=notes,
            dials=dials,
            collection_limits=collection_limits,
        )
        self.retrieval = Retrieval(
            self._collections.ground, registry or Registry.of(()), retrieval_limits
        )
        self._started_s = time.monotonic()

    async def start(self) -> None:
        """Loads the models."""
        metrics.BUILD.info({"version": __version__, "engine": self._engine.name})
        images = self._images  # the gauge, which outlives this, holds no more of it
        metrics.DECODE_QUEUE.set_function(lambda: images.queue_depth)
        self.tensors.start()
        await self._engine.start()
        await self.list_collections()  # says how many items each keeps
        await self.retrieval.start()

    async def close(self) -> None:
        """Finishes what runs and lets go of models and data."""
        await self.retrieval.close()
        await self._engine.close()
        self._collections.close()
        self._images.close()

    @survives_swaps
    async def classify(
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
        """Class names with scores in [0, 1], best first.

        Args:
            model: a classifier, or two towers with `labels`.
            inputs: images.
            version: 0 is the newest.
            top_k: labels per input; default 5.
            threshold: only labels scoring at least this; default 0.5 for multi-label models.
            dimension: which head, where there is one per Matryoshka prefix.
            labels: zero-shot: the classes to choose from.
            templates: zero-shot: prompts with {} for the label.
            timeout_s: the caller's deadline.
        """
        return await self._classifier(
            model,
            inputs,
            version=version,
            top_k=top_k,
            threshold=threshold,
            dimension=dimension,
            labels=labels,
            templates=templates,
            timeout_s=timeout_s,
        )

    @survives_swaps
    async def segment(
        self,
        model: str,
        inputs: Sequence[Input],
        *,
        version: int = 0,
        format: MaskFormat = MaskFormat.PNG,
        threshold: float | None = None,
        timeout_s: float | None = None,
    ) -> Segmented:
        """The class of every pixel, at each image's own size; largest regions first.

        Args:
            model: a segmenter.
            inputs: images.
            version: 0 is the newest.
            format: how masks are written.
            threshold: foreground models: what counts as foreground; default 0.5.
            timeout_s: the caller's deadline.
        """
        return await segment.segment(
            self._runner,
            model,
            inputs,
            version=version,
            format=format,
            threshold=threshold,
            timeout_s=timeout_s,
        )

    @survives_swaps
    async def embed(
        self,
        model: str,
        inputs: Sequence[Input],
        *,
        version: int = 0,
        dimension: int | None = None,
        encoding: Encoding = Encoding.FLOAT32,
        normalised: bool | None = None,
        timeout_s: float | None = None,
    ) -> Embedded:
        """Vectors of the model's space.

        Args:
            model: an embedder.
            inputs: images or texts.
            version: 0 is the newest.
            dimension: a trained prefix length; default the full one.
            encoding: how vectors are written.
            normalised: unit L2 norm; default as the space has it.
            timeout_s: the caller's deadline.
        """
        return await embed.embed(
            self._runner,
            model,
            inputs,
            version=version,
            dimension=dimension,
            encoding=encoding,
            normalised=normalised,
            timeout_s=timeout_s,
        )

    @survives_swaps
    async def compare(
        self,
        model: str,
        left: Input,
        right: Input,
        *,
        version: int = 0,
        dimension: int | None = None,
        timeout_s: float | None = None,
    ) -> Compared:
        """How alike two inputs are; the same or not, where the card has a threshold."""
        return await compare.compare(
            self._runner,
            model,
            left,
            right,
            version=version,
            dimension=dimension,
            timeout_s=timeout_s,
        )

    def models(self) -> Sequence[ModelInfo]:
        """Every model of the repository with its state."""
        return [
            ModelInfo(status.name, status.version, status.state, status.reason, status.card)
            for status in self._engine.models()
        ]

    def model(self, name: str, version: int = 0) -> ModelInfo:
        """One model; 0 is its newest version.

        Raises:
            ModelNotFoundError: there is none.
        """
        found = [
            info for info in self.models() if info.name == name and version in (0, info.version)
        ]
        if not found:
            known = version and any(info.name == name for info in self.models())
            told = f" with version {version}" if known else ""
            raise ModelNotFoundError(f"no model named {name!r}{told}")
        return found[-1]

    def ready(self) -> bool:
        """Whether every model that can be served answers; one that failed does not hold it up."""
        statuses = self._engine.models()
        under_way = {State.LOADING, State.BUILDING, State.WARMING}
        return any(status.answers for status in statuses) and not any(
            status.state in under_way for status in statuses
        )

    def info(self) -> ServerInfo:
        """What this server is."""
        return ServerInfo(
            __version__,
            self._engine.name,
            self._engine.providers(),
            time.monotonic() - self._started_s,
            self.limits,
        )

    def index(self) -> Sequence[ModelStatus]:
        """Every version of every model, with its progress; see `Engine.models`."""
        return self._engine.models()

    def counted(self) -> Sequence[ModelStatistics]:
        """The newest statistics that need no waiting; see `Engine.counted`."""
        return self._engine.counted()

    def path(self) -> str:
        """How tensors reach what runs the models; see `Engine.path`."""
        return self._engine.path()

    def model_ready(self, name: str, version: int = 0) -> bool:
        """Whether a version of a model answers; 0 is any."""
        return any(
            status.answers
            for status in self._engine.models()
            if status.name == name and version in (0, status.version)
        )

    def config(self, model: str, version: int = 0) -> ModelConfig:
        """The configuration of a version that answers; see `Engine.config`."""
        return self._engine.config(model, version)

    def pbtxt(self, model: str, version: int = 0) -> str:
        """Its text, with all that Kokeshi does not read; see `Engine.pbtxt`."""
        return self._engine.pbtxt(model, version)

    def card(self, model: str, version: int = 0) -> Card:
        """The card of a version that answers; see `Engine.card`."""
        return self._engine.card(model, version)

    def file(self, model: str, name: str) -> bytes:
        """A file of a model's folder; see `Engine.file`."""
        return self._engine.file(model, name)

    async def statistics(self, model: str = "", version: int = 0) -> Sequence[ModelStatistics]:
        """What happened to the requests so far; see `Engine.statistics`."""
        return await self._engine.statistics(model, version)

    async def load(
        self, model: str, config: str = "", files: Mapping[str, bytes] | None = None
    ) -> None:
        """Loads a model, or loads it again; see `Engine.load`."""
        await self._engine.load(model, config, files)

    async def unload(self, model: str) -> None:
        """Stops serving a model; see `Engine.unload`."""
        await self._engine.unload(model)

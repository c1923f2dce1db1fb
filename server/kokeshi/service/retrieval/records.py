"""What retrievers and diagnostics are asked over collections, and what they answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from kokeshi.service.inputs import Input

SEED: Final = 0


@dataclass(frozen=True)
class RetrievalLimits:
    """Sizes that the calls of retrievers and diagnostics keep; each is a setting.

    Attributes:
        max_sample_items: that a fit or a diagnosis reads the vectors of.
        max_scanned_items: whose ids are read to draw a sample from.
        max_references: items of one subject.
        max_pairs: judged, of one fit.
        max_jobs: fits and diagnoses that run or wait; further ones are refused.
        max_job_s: that one of them may run: it keeps all others waiting.
        max_cached_models: fitted ones that are kept unpacked.
        transfer_batch_items: that a transfer between collections writes at once.
        default_k: neighbours that a retriever sees where the caller does not say.
        least_recall: of a map on held-out queries, where the caller does not say.
    """

    max_sample_items: int = 20_000
    max_scanned_items: int = 1_000_000
    max_references: int = 1_000
    max_pairs: int = 100_000
    max_jobs: int = 4
    max_job_s: float = 600.0
    max_cached_models: int = 16
    transfer_batch_items: int = 256
    default_k: int = 100
    least_recall: float = 0.8


@dataclass(frozen=True)
class Defaults:
    """Names of the retrievers behind the typed calls, where the caller names none."""

    verify: str = "verification"
    locate: str = "im2gps"
    vote: str = "neighbour_vote"
    recognise: str = "open_set"
    associate: str = "hopfield"
    map: str = "space_map"
    rotation: str = "pca_rotation"
    search: str = "funnel"  # whose fitted plan a search in two stages takes


@dataclass(frozen=True)
class PluginInfo:
    """A retriever or a diagnostic that is installed.

    Attributes:
        does: of a retriever, which of "fit", "answer", "apply" and "plan" it has; of a diagnostic
            what of a sample it needs besides vectors.
    """

    name: str
    kind: Literal["retriever", "diagnostic"]
    summary: str
    paper: str
    distribution: str
    does: Sequence[str]
    defaults: Mapping[str, Any]


@dataclass(frozen=True)
class Judgement:
    """A pair that a user judged: two items by id, or their similarity."""

    same: bool
    left_id: str = ""
    right_id: str = ""
    score: float | None = None


@dataclass(frozen=True)
class FitOptions:
    """What a retriever is fitted on.

    Attributes:
        settings: of the retriever.
        labels: field of the metadata, with dots, that holds an item's label; "" for none.
        judgements: pairs, instead of labels.
        other: a collection that holds the same ids in another space; "" for none.
        dimension: fits on this prefix alone; None: on all trained ones.
        name: to keep the model under; "" is the retriever's own.
        seed: of the sample and of what the fit draws.
        items: at most, of the sample; None is the limit.
        tenant: whose items.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    labels: str = ""
    judgements: Sequence[Judgement] = ()
    other: str = ""
    dimension: int | None = None
    name: str = ""
    seed: int = SEED
    items: int | None = None
    tenant: str = ""


@dataclass(frozen=True)
class Fitted:
    """A model that is kept, and what it was fitted on.

    Attributes:
        space: fingerprint of the space of its vectors.
        dimension: of the vectors that it was fitted on; the full one unless a prefix was asked for.
        count: items of the sample.
        of: items of the collection then.
        sequence: the last write of the collection then.
        digest: sha256 of the model.
        figures: what the fit measured, a JSON object that the retriever describes; {} of one that
            tells nothing, or that an older version fitted.
    """

    name: str
    retriever: str
    collection: str
    settings: Mapping[str, Any]
    space: str
    dimension: int
    labels: str
    count: int
    of: int
    sequence: int
    seed: int
    digest: str
    size_bytes: int
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """A query to a retriever.

    Attributes:
        query: an image, a text or a vector, or the id of an item, which is left out of its own
            neighbours.
        retriever: by name; "" is that of the call.
        fitted: name of the model; "" is the retriever's own.
        k: neighbours; None is `RetrievalLimits.default_k`.
        dimension: trained prefix length; None is the full one.
        filter: as JSON; None fits every item.
        model: embeds the query; "" is the collection's own.
        space: of a query that is a vector.
    """

    query: Input | str
    retriever: str = ""
    fitted: str = ""
    k: int | None = None
    dimension: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    tenant: str = ""
    filter: Mapping[str, Any] | None = None
    model: str = ""
    space: str = ""


@dataclass(frozen=True)
class Reference:
    """Whom a query is compared with: an item, or all items whose field has a value."""

    id: str = ""
    field: str = ""
    value: str | int | float | bool | None = None


@dataclass(frozen=True, eq=False)
class Answered:
    """Answer of a retriever: `answer` is a JSON object that its module describes."""

    retriever: str
    answer: Mapping[str, Any]
    dimension: int
    neighbours: Sequence[str]
    sequence: int


@dataclass(frozen=True)
class DiagnoseOptions:
    """What to measure of a collection.

    Attributes:
        diagnostics: by name; () is every one whose needs are met.
        settings: by the name of a diagnostic.
        labels: see `FitOptions`.
        queries: images, texts or vectors.
        other: a collection that holds the same ids in another space.
        model: embeds the queries; "" is the collection's own.
        space: of queries that are vectors.
    """

    diagnostics: Sequence[str] = ()
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    labels: str = ""
    queries: Sequence[Input] = ()
    other: str = ""
    seed: int = SEED
    items: int | None = None
    tenant: str = ""
    model: str = ""
    space: str = ""


@dataclass(frozen=True)
class Curve:
    """One plot: `y` over `x`, float64 (points,)."""

    title: str
    x_label: str
    y_label: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    kind: str
    names: Sequence[str] = ()  # of the points, where they have any


@dataclass(frozen=True)
class Measured:
    """What one diagnostic found; `refused` says why it found nothing.

    Attributes:
        flagged: ids that want a look, worst first -> why.
    """

    diagnostic: str
    figures: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, Sequence[float]] = field(default_factory=dict)
    curves: Sequence[Curve] = ()
    flagged: Mapping[str, str] = field(default_factory=dict)
    advice: Sequence[str] = ()
    refused: str = ""

    @property
    def flagged_order(self) -> Sequence[str]:
        """The ids of `flagged`, for an answer whose objects have no order."""
        return list(self.flagged)


@dataclass(frozen=True)
class Diagnosed:
    """Answer of `diagnose`."""

    collection: str
    space: str
    count: int  # items of the sample
    of: int  # items of the collection
    sequence: int
    results: Sequence[Measured]


@dataclass(frozen=True)
class MapOptions:
    """What a map between two spaces is fitted on.

    Attributes:
        model: of the other space; embeds the inputs of `pairs`.
        pairs: ids of the collection's items, each with the input that it was made of.
        other: a collection of the other space that holds some of the same ids; instead of those.
        direction: "items" takes the collection's items into the other space, for a migration;
            "queries" takes queries of the other space into the collection's own.
        least_recall: on held-out queries; below it there is no map.
    """

    model: str = ""
    pairs: Sequence[tuple[str, Input]] = ()
    other: str = ""
    direction: Literal["items", "queries"] = "items"
    least_recall: float | None = None
    retriever: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = SEED
    tenant: str = ""


@dataclass(frozen=True)
class MapInfo:
    """A map that is kept; `model` is what the fit says of itself, without its arrays."""

    collection: str
    retriever: str
    source: str  # fingerprint of the space that it takes from
    target: str
    count: int
    recall: float | None
    model: Mapping[str, Any]


@dataclass(frozen=True)
class Transfer:
    """How far a collection's items have come into another one.

    Attributes:
        state: "running", "done" or "failed", whose `reason` is told.
        read: items of the source that were gone through.
        written: of them; the others were in the target already.
        total: items of the source at the start.
        native_share: of the target's items, those that its own model embedded.
        recall: of the map on held-out queries, where it says so.
        alias: that was swapped at the end.
    """

    source: str
    target: str
    state: Literal["running", "done", "failed"]
    read: int
    written: int
    total: int
    native_share: float
    recall: float | None = None
    reason: str = ""
    alias: str = ""
    tenant: str = ""


@dataclass(frozen=True)
class RotateOptions:
    """How a collection's space is rotated; `dimensions` () are powers of two from 8 on."""

    name: str
    dimensions: Sequence[int] = ()
    retriever: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = SEED
    items: int | None = None
    tenant: str = ""


@dataclass(frozen=True)
class Rotated:
    """A rotated collection; `energy` is the share of the squared length that a prefix keeps."""

    space: str
    energy: Mapping[int, float]
    transfer: Transfer

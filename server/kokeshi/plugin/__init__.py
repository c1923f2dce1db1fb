"""What a plugin is: a frozen record with pure functions; the class of the record is its kind.

A distribution offers its plugins through the entry-point group `kokeshi.plugins`, as one record or
a tuple of them. Records are data: importing them must not import torch, so that neither listing the
catalogue nor serving needs it. Torch is imported inside `build` and `convert`, which run at export
only.

A `Retriever` and a `Diagnostic` see the records of this module, never a store: whoever holds the
collection fills a `Sample` or `Neighbours`, and keeps what a fit returned beside the collection.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from kokeshi.contract import Input, Output
from kokeshi.errors import InvalidRequestError
from kokeshi.plugin.bounds import RATE, SHARE, Bounds, check_setting
from kokeshi.plugin.stopping import go_on, stoppable

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "RATE",
    "SHARE",
    "Bounds",
    "Checkpoint",
    "Curve",
    "Diagnostic",
    "Findings",
    "Method",
    "Neighbours",
    "Options",
    "Pairs",
    "Paper",
    "Part",
    "Plugin",
    "Recipe",
    "Retriever",
    "Sample",
    "go_on",
    "settle",
    "stoppable",
]


@dataclass(frozen=True)
class Paper:
    """Where a method was published."""

    title: str
    authors: str
    year: int
    url: str


@dataclass(frozen=True)
class Options:
    """What the user of `kokeshi export` asked for, and what the weights say of themselves."""

    variant: str  # one of Method.variants, or a name that Method.accepts
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # of the converted weights
    classes: int | None = None  # number of labels given; None: from the weights, else the paper's
    image_size: int | None = None  # pixels; None: the input contract's own
    embedding_layer: str | None = None  # dotted module name; None: the method's own embedding
    settings: Mapping[str, Any] = field(default_factory=dict)  # a Checkpoint's wishes


@dataclass(frozen=True)
class Part:
    """One graph of a method.

    `module` takes what `input` declares, after normalisation: float32 (N, 3, height, width) for an
    image, int64 (N, context_length) for text. It returns a tuple of final outputs in the order of
    `outputs`: softmax, L2 norm and argmax are inside.
    """

    module: "nn.Module"
    input: Input
    outputs: tuple[Output, ...]
    role: str = "main"
    files: Mapping[str, bytes] = field(default_factory=dict)  # beside config.pbtxt: a tokeniser


@dataclass(frozen=True)
class Recipe:
    """What `Method.build` makes: the network that takes the weights, and the graphs to export.

    The modules of `parts` hold `network` or pieces of it, so that loading weights into `network`,
    strictly, loads them all. A network without parameters needs no weights.
    """

    network: "nn.Module"
    parts: tuple[Part, ...]
    labels: tuple[str, ...] = ()  # class names the weights come with
    logit_scale: float | None = None  # two towers: factor on the cosine before the softmax
    logit_scale_key: str | None = None  # ... or the name of the parameter holding its logarithm


@dataclass(frozen=True)
class Method:
    """A published method: builds its network for given options.

    `variants` are the names that `kokeshi export` takes. `prefix` opens a whole namespace instead
    (`timm/<any name>`), for methods that are a rule over a library's models.
    """

    name: str
    paper: Paper
    licence: str  # of the code that `build` runs
    variants: tuple[str, ...]
    build: Callable[[Options], Recipe]
    rows: tuple[int, ...] = ()  # numbers in the catalogue
    prefix: str | None = None
    # From a published checkpoint's key names to the network's; identity by default.
    convert: Callable[[dict[str, "Tensor"]], dict[str, "Tensor"]] = dict
    summary: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """Named weights of a method.

    `settings` reach the method's `build` through `Options.settings`: the input contract and the
    read-out that these weights were published with.
    """

    name: str
    paper: Paper
    method: str  # name of a Method
    variant: str  # one of its variants
    source: str  # hub id, URL, or where the authors publish the file
    licence: str  # of the weights
    convert: Callable[[dict[str, "Tensor"]], dict[str, "Tensor"]] = dict
    settings: Mapping[str, Any] = field(default_factory=dict)
    rows: tuple[int, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)  # as published, for this file
    summary: str = ""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """What a search found for one query, best first.

    Attributes:
        ids: of the k items.
        scores: (k,) float32; similarities, larger nearer, or distances, smaller nearer.
        metadata: of the items, JSON objects.
        higher_is_better: scores are similarities.
        vectors: (k, dim) float32, cut and normalised as the scores were computed; None where the
            retriever does not read them.
        query: (dim,) float32, likewise.
        dimension: length that the scores were computed at; None is the full one.
        count: items that were searched; 0: not known.
    """

    ids: tuple[str, ...]
    scores: npt.NDArray[np.float32]
    metadata: tuple[Mapping[str, Any], ...]
    higher_is_better: bool = True
    vectors: npt.NDArray[np.float32] | None = None
    query: npt.NDArray[np.float32] | None = None
    dimension: int | None = None
    count: int = 0


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs that a user has judged.

    Attributes:
        scores: (pairs,) float32, similarities.
        same: (pairs,) bool.
    """

    scores: npt.NDArray[np.float32]
    same: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Sample:
    """Items of a collection, for a fit or a diagnostic.

    Attributes:
        vectors: (n, dim) float32 of full length, as the collection keeps them.
        ids: of the items, or () where they are nobody's.
        labels: one per item, "" where it has none; () where none has.
        metadata: of the items, or ().
        queries: (queries, dim) float32, or None.
        counterpart: (n, other_dim) float32, the same items in another space, or None.
        pairs: judged by a user, or None.
        dimensions: trained prefix lengths, ascending, the full one last; () is the full one alone.
        space: fingerprint of the embedding space of `vectors`.
        counterpart_space: likewise of `counterpart`.
        seed: of whatever a fit or a diagnostic draws.
    """

    vectors: npt.NDArray[np.float32]
    ids: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    metadata: tuple[Mapping[str, Any], ...] = ()
    queries: npt.NDArray[np.float32] | None = None
    counterpart: npt.NDArray[np.float32] | None = None
    pairs: Pairs | None = None
    dimensions: tuple[int, ...] = ()
    space: str = ""
    counterpart_space: str = ""
    seed: int = 0

    @property
    def trained(self) -> tuple[int, ...]:
        """Prefix lengths that have a meaning, ascending, the full one last."""
        return self.dimensions or (self.vectors.shape[1],)


@dataclass(frozen=True)
class Retriever:
    """A published way to make more of an index than its nearest items.

    At least one of `answer`, `apply` and `plan` is there. `settings` below are `defaults` with what
    the caller changed (see `settle`); `model` is what `fit` returned, or None for a retriever
    without a fit. A model is kept as `model_dump_json()` and read by `model.model_validate_json`.

    Attributes:
        licence: of the code that runs.
        answer: `answer(neighbours, settings, model)` is a JSON object that the module describes.
        apply: `apply(vectors, model)` takes (n, dim) float32 into the model's other space.
        plan: `plan(settings, model)` says how to search, as a JSON object.
            A plan that has `stages`, a list of `dimension` and `keep`, is one that a collection's
            search takes: settings `k`, `count` (items that are searched) and `most_stages`, where
            the retriever has them, are those of the search.
        fit: `fit(sample, settings)`; raises InvalidRequestError where the sample cannot carry it.
        figures: `figures(model)` is what the fit measured, a JSON object: error rates, recalls,
            counts, with their intervals. None: it measures nothing.
        model: class of what `fit` returns.
        reads: what of the neighbours is needed besides ids, scores and metadata.
        defaults: every setting with its value where the caller gives none.
        bounds: of the settings that are numbers, or lists of them.
        check: `check(settings)` raises InvalidRequestError where settings do not fit each other.
        packages: that `fit` imports beside numpy; `answer`, `apply` and `plan` need numpy alone.
    """

    name: str
    paper: Paper
    licence: str
    answer: Callable[[Neighbours, Mapping[str, Any], Any], Mapping[str, Any]] | None = None
    apply: Callable[[npt.NDArray[np.float32], Any], npt.NDArray[np.float32]] | None = None
    plan: Callable[[Mapping[str, Any], Any], Mapping[str, Any]] | None = None
    fit: Callable[[Sample, Mapping[str, Any]], BaseModel] | None = None
    figures: Callable[[Any], Mapping[str, Any]] | None = None
    model: type[BaseModel] | None = None
    reads: frozenset[Literal["vectors", "query"]] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    check: Callable[[Mapping[str, Any]], None] | None = None
    packages: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()  # numbers in the catalogue
    summary: str = ""


@dataclass(frozen=True, eq=False)
class Curve:
    """One plot of a diagnostic: `y` over `x`, both (points,) float64.

    Attributes:
        names: of each point, where it stands for something with a name.
    """

    title: str
    x_label: str
    y_label: str
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    kind: Literal["line", "bars", "points"] = "line"
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Findings:
    """What a diagnostic says of a collection.

    Attributes:
        figures: name -> number, for the metrics page and the report.
        intervals: name of a figure -> its interval, for those that have one.
        curves: plots.
        flagged: ids of items that want a look -> why.
        advice: sentences for the user, each of which the figures bear out.
    """

    figures: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    curves: tuple[Curve, ...] = ()
    flagged: Mapping[str, str] = field(default_factory=dict)
    advice: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diagnostic:
    """A published measure of a collection, taken on demand.

    Attributes:
        licence: of the code that runs.
        measure: `measure(sample, settings)`; raises InvalidRequestError where the sample cannot
            carry it.
        needs: fields of `Sample` that must be filled.
        defaults: every setting with its value where the caller gives none.
        bounds: of the settings that are numbers, or lists of them.
        check: `check(settings)` raises InvalidRequestError where settings do not fit each other.
        packages: that `measure` imports beside numpy.
    """

    name: str
    paper: Paper
    licence: str
    measure: Callable[[Sample, Mapping[str, Any]], Findings]
    needs: frozenset[Literal["ids", "labels", "queries", "counterpart"]] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    check: Callable[[Mapping[str, Any]], None] | None = None
    packages: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()  # numbers in the catalogue
    summary: str = ""


def settle(plugin: Retriever | Diagnostic, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of one call: the plugin's own, with what the caller changed.

    Raises:
        InvalidRequestError: the plugin has no such setting, or one of another type; it is out of
            its bounds, or does not fit the others.
    """
    for name, value in given.items():
        if name not in plugin.defaults:
            known = ", ".join(sorted(plugin.defaults)) or "none"
            raise InvalidRequestError(
                f"{plugin.name!r} has no setting {name!r}; its settings are: {known}"
            )
        told = f"setting {name!r} of {plugin.name!r}"
        check_setting(told, plugin.defaults[name], value, plugin.bounds.get(name))
    settings = {**plugin.defaults, **given}
    if plugin.check is not None:
        plugin.check(settings)
    return settings


Plugin = Method | Checkpoint | Retriever | Diagnostic

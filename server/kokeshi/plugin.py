"""What a plugin is: a frozen record with pure functions; the class of the record is its kind.

A distribution offers its plugins through the entry-point group `kokeshi.plugins`, as one record or
a tuple of them. Records are data: importing them must not import torch, so that neither listing the
catalogue nor serving needs it. Torch is imported inside `build` and `convert`, which run at export
only.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kokeshi.contract import Input, Output

if TYPE_CHECKING:
    from torch import Tensor, nn


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


Plugin = Method | Checkpoint

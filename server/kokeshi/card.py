"""The card: what a model folder says of itself.

A JSON document inside `config.pbtxt` (`parameters { key: "kokeshi" ... }`), so that Triton hands it
out through its own ModelConfig call.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from kokeshi.contract import ImageInput, Input, Meaning, Output, Record, Task
from kokeshi.errors import DimensionError, WrongTaskError

PARAMETER: Final = "kokeshi"  # key in config.pbtxt's parameters


class PaperCard(Record):
    """Where the method was published."""

    title: str
    authors: str
    year: int
    url: str


class CheckpointCard(Record):
    """Where the weights came from. `source` is "untrained" for random weights."""

    source: str
    sha256: str
    licence: str

    @property
    def trained(self) -> bool:
        """Whether these are real weights."""
        return self.source != UNTRAINED


UNTRAINED: Final = "untrained"


class Agreement(Record):
    """The worst disagreement of one output with PyTorch's, and the bound it had to keep."""

    output: str
    measure: str  # "max absolute difference", "min cosine", "max hyperbolic distance"
    worst: float
    bound: float


class Parity(Record):
    """What was compared before the model became visible."""

    reference: str  # "torch 2.13.0 eager, cpu"
    images: int  # real ones
    noise: int
    batch_sizes: tuple[int, ...]
    agreements: tuple[Agreement, ...]


class Threshold(Record):
    """Calibrated decision for `Compare` at one embedding length."""

    dimension: int
    similarity: float  # at or above it: the same
    false_match_rate: float
    false_non_match_rate: float
    calibrated_on: str


class Speed(Record):
    """What one candidate reached at one batch size, with every caller waiting for its answer."""

    batch_size: int
    rows_per_s: float
    p50_ms: float
    p99_ms: float


class Fidelity(Record):
    """How well one output of a candidate agrees with the graph's in fp32, on images."""

    output: str
    measure: str  # "cosine", "top-10 overlap", "top-1 agreement", "mIoU"
    mean: float
    worst: float  # image
    bound: float  # for the mean


class Candidate(Record):
    """One way to run the graph that was measured."""

    name: str  # "openvino bf16, 1 x 2 threads"
    runtime: str  # "onnxruntime", "openvino", "cuda", "tensorrt"
    precision: str  # "FP32", "FP16", "BF16", "INT8"
    file: str  # in the version's folder
    instances: int = 1
    threads: int = 1  # of each instance
    speeds: tuple[Speed, ...] = ()
    fidelity: tuple[Fidelity, ...] = ()
    peak_bytes: int = 0  # resident memory of the process that ran it
    failed: str = ""  # why it could not be measured

    @property
    def faithful(self) -> bool:
        """Whether it was measured and keeps every bound."""
        return not self.failed and all(one.mean >= one.bound for one in self.fidelity)


class Tuning(Record):
    """What was measured of the ways to run the graph on one machine, and what was chosen."""

    hardware: str  # what the choice holds for
    date: str  # ISO 8601
    versions: dict[str, str]  # distribution -> version
    goal: Literal["throughput", "latency"]
    images: str  # what the fidelity was measured on
    calibration: str = ""  # what int8 graphs were calibrated on
    chosen: str  # name of a candidate
    candidates: tuple[Candidate, ...]
    files: dict[str, str] = Field(default_factory=dict)  # graphs made: name -> sha256

    @property
    def choice(self) -> Candidate:
        """The candidate that was chosen."""
        return next(one for one in self.candidates if one.name == self.chosen)

    @model_validator(mode="after")
    def _chose_a_candidate(self) -> Self:
        if self.chosen not in {one.name for one in self.candidates}:
            raise ValueError(f"{self.chosen!r} is none of the candidates")
        return self


class Card(Record):
    """Everything the server needs to know of one graph."""

    schema_version: Literal[1] = 1
    name: str
    version: int = Field(gt=0)
    method: str
    paper: PaperCard
    checkpoint: CheckpointCard
    model_sha256: str  # with large weights, of two files: kokeshi.engines.repository.graph_digest
    space: str  # fingerprint of graphs, input contracts and output: see `space_of`
    role: str = "main"
    parts: dict[str, str] = Field(default_factory=dict)  # role -> model name, itself included
    input: Input
    outputs: tuple[Output, ...]
    labels: tuple[str, ...] = ()
    thresholds: tuple[Threshold, ...] = ()
    logit_scale: float | None = None
    transforms: tuple[str, ...] = ()
    compatible_with: tuple[str, ...] = ()
    parity: Parity
    exported_by: dict[str, str]  # distribution -> version
    tuning: Tuning | None = None

    @model_serializer(mode="wrap")
    def _without_what_was_not_tuned(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Servers from before the field existed take no name that they do not know."""
        fields = write(self)
        return {name: each for name, each in fields.items() if name != "tuning" or each is not None}

    def digest_of(self, file: str) -> str:
        """The sha256 that a graph in the version's folder must have, as `model_sha256` is made."""
        made = self.tuning.files if self.tuning else {}
        return made.get(file, self.model_sha256)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What this graph answers, in the order of its outputs."""
        return tuple(dict.fromkeys(output.task for output in self.outputs))

    def output_for(self, task: Task, dimension: int | None = None) -> Output:
        """The output that answers a task.

        Raises:
            WrongTaskError: the model has no such output.
            DimensionError: it has one, but none for this prefix length.
        """
        found = [output for output in self.outputs if output.task is task]
        if not found:
            answers = ", ".join(self.tasks)
            raise WrongTaskError(f"model {self.name!r} answers {answers}, not {task.value}")
        if task is Task.EMBEDDING:
            check_dimension(self.name, found[0], dimension)
            return found[0]
        full = {output.shape[-1] for output in self.outputs if output.task is Task.EMBEDDING}
        for output in found:
            if output.dimension == dimension or (output.dimension is None and dimension in full):
                return output
        heads = [str(output.dimension) for output in found if output.dimension]
        raise DimensionError(
            f"model {self.name!r} has no classifier at dimension {dimension}; "
            f"it has {', '.join(heads) or 'only the full length'}"
        )

    @property
    def image(self) -> ImageInput:
        """The image contract.

        Raises:
            WrongTaskError: this graph takes text.
        """
        if not isinstance(self.input, ImageInput):
            raise WrongTaskError(f"model {self.name!r} takes {self.input.kind}, not images")
        return self.input


def check_dimension(model: str, output: Output, dimension: int | None) -> int:
    """The length to cut an embedding to: `dimension`, or the full one.

    Raises:
        DimensionError: the embedding was not trained for that prefix.
    """
    full = output.shape[-1]
    if dimension is None or dimension == full:
        return full
    if dimension not in output.dimensions:
        trained = ", ".join(map(str, output.dimensions or (full,)))
        raise DimensionError(
            f"model {model!r} was trained for dimensions {trained}, not {dimension}"
        )
    return dimension


def space_of(graphs: Iterable[tuple[str, Input]], output: str = Meaning.EMBEDDING) -> str:
    """Fingerprint of an embedding space: 16 hexadecimal digits.

    Args:
        graphs: sha256 of each graph that writes into the space, with its input contract. Two towers
            that share a space are fingerprinted together.
        output: name of the output.
    """
    lines = sorted(f"{digest} {contract.model_dump_json()}" for digest, contract in graphs)
    return sha256("\n".join([output, *lines]).encode()).hexdigest()[:16]

"""The card: what a model folder says of itself.

A JSON document inside `config.pbtxt` (`parameters { key: "kokeshi" ... }`), so that Triton hands it
out through its own ModelConfig call.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final, Literal

from pydantic import Field

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
    measure: str  # "max absolute difference", "min cosine", "min share of equal pixels"
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

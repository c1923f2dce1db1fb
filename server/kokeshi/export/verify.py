"""Compares an ONNX graph with PyTorch: its interface, then its values on real and random rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kokeshi.card import Agreement, Parity
from kokeshi.contract import ImageInput, Input, Meaning, Output
from kokeshi.errors import VerificationError
from kokeshi.export.graph import BATCH, Graph
from kokeshi.export.promises import check_values
from kokeshi.export.samples import BATCH_SIZES, Batch, batches
from kokeshi.index.geometry import Geometry
from kokeshi.plugin import Part

Values = NDArray[Any]
_LEAST: Final = "min "  # begins the names of measures whose larger values are better


@dataclass(frozen=True)
class Measure:
    """A number per row that says how well two outputs agree, and the bound that every row keeps."""

    name: str
    per_row: Callable[[Values, Values], Values]  # reference and graph, (N, ...) each, to (N,)
    bound: float
    at_least: bool = False  # larger is better

    def worst(self, numbers: Values) -> int:
        """Index of the worst number; NaN is the worst of all."""
        return int(numbers.argmin() if self.at_least else numbers.argmax())

    def keeps(self, number: float) -> bool:
        """Whether the bound is kept; NaN keeps none."""
        return number >= self.bound if self.at_least else number <= self.bound


def verify(
    graph: Graph,
    part: Part,
    path: Path,
    labels: Sequence[str] = (),
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Parity:
    """Runs the graph and PyTorch side by side, and says how well they agreed.

    Args:
        graph: the reference, in evaluation mode.
        part: the contract of both.
        path: the ONNX file.
        labels: class names; a label map may hold no class beyond them.
        on_progress: gets the fraction done.

    Raises:
        VerificationError: the interface is not the contract's, an output breaks the promise of its
            meaning, or it differs from PyTorch's by more than its bound.
    """
    import torch

    session = _session(path)
    _check_interface(session, part)
    sets = batches(part.input, part.files)
    found: dict[tuple[str, str], Agreement] = {}
    for index, batch in enumerate(sets):
        expected = _reference(graph, batch.rows)
        got = _run(session, part.input.name, batch)
        for output, wanted, values in zip(part.outputs, expected, got, strict=True):
            check_values(output, wanted, labels)
            for agreement in _compare(output, batch, wanted, values):
                _keep_worst(found, agreement)
        on_progress((index + 1) / len(sets))
    return Parity(
        reference=f"torch {torch.__version__} eager, cpu",
        images=sum(len(batch.names) for batch in sets if batch.real),
        noise=sum(len(batch.names) for batch in sets if not batch.real),
        batch_sizes=BATCH_SIZES,
        agreements=tuple(found.values()),
    )


def measures(output: Output) -> tuple[Measure, ...]:
    """How an output is compared; its own tolerance, where it has one, bounds the first measure."""
    if output.metric == "hyperbolic":
        apart = Measure("max hyperbolic distance", _between(output), _bound(output, 0.01))
        return (apart,)
    if output.meaning is Meaning.EMBEDDING:
        cosine = Measure("min cosine", _cosine, _bound(output, 0.9999), at_least=True)
        length = Measure("max relative difference", _relative_difference, 1e-3)
        return (cosine,) if output.normalised else (cosine, length)
    if output.meaning is Meaning.LABEL_MAP:
        bound = _bound(output, 0.999)
        return (Measure("min share of equal pixels", _equal_share, bound, at_least=True),)
    return (Measure("max absolute difference", _absolute_difference, _bound(output, 1e-4)),)


def in_words(agreement: Agreement) -> str:
    """An agreement as a difference; near 1, what is lacking to 1 says more than rounded figures."""
    worst, bound, measure = agreement.worst, agreement.bound, agreement.measure
    if measure.startswith(_LEAST):
        worst, bound = max(0.0, 1 - worst), 1 - bound
        measure = f"1 - {measure.removeprefix(_LEAST)}"
    return f"{agreement.output}: {measure} {worst:.2g} (bound {bound:.2g})"


def _bound(output: Output, house: float) -> float:
    return house if output.tolerance is None else output.tolerance


def _session(path: Path) -> Any:  # noqa: ANN401 - onnxruntime is untyped
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # its warnings about initialisers are nothing to the user
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise VerificationError(f"ONNX Runtime refuses the graph: {error}") from error


def _run(session: Any, name: str, batch: Batch) -> list[Values]:  # noqa: ANN401 - untyped
    try:
        return session.run(None, {name: batch.rows})
    except Exception as error:
        size = len(batch.names)
        raise VerificationError(f"the graph fails at batch size {size}: {error}") from error


def _reference(graph: Graph, rows: Values) -> list[Values]:
    import torch

    with torch.inference_mode():
        return [value.numpy() for value in graph(torch.from_numpy(rows))]


def _compare(output: Output, batch: Batch, expected: Values, got: Values) -> list[Agreement]:
    if got.shape != expected.shape:
        raise VerificationError(
            f"output {output.name!r} has shape {got.shape}, PyTorch's has {expected.shape}, "
            f"at batch size {len(batch.names)}"
        )
    agreements = []
    for measure in measures(output):
        numbers = measure.per_row(expected.astype(np.float64), got.astype(np.float64))
        row = measure.worst(numbers)
        worst = float(numbers[row])
        if not measure.keeps(worst):
            raise VerificationError(
                f"output {output.name!r} disagrees with PyTorch: {measure.name} is {worst:.6g}, "
                f"the bound is {measure.bound:g}, on {batch.names[row]!r} "
                f"at batch size {len(batch.names)}"
            )
        agreements.append(
            Agreement(output=output.name, measure=measure.name, worst=worst, bound=measure.bound)
        )
    return agreements


def _keep_worst(found: dict[tuple[str, str], Agreement], new: Agreement) -> None:
    key = (new.output, new.measure)
    worst = min if new.measure.startswith(_LEAST) else max
    found[key] = worst(found.get(key, new), new, key=lambda agreement: agreement.worst)


def _cosine(expected: Values, got: Values) -> Values:
    norms = np.linalg.norm(expected, axis=1) * np.linalg.norm(got, axis=1)
    return (expected * got).sum(axis=1) / np.maximum(norms, 1e-12)


def _relative_difference(expected: Values, got: Values) -> Values:
    largest = np.abs(expected).max(axis=1)
    return np.abs(expected - got).max(axis=1) / np.maximum(largest, 1e-12)


def _between(output: Output) -> Callable[[Values, Values], Values]:
    """Distances in the ball, in its radii of curvature: near its edge a small step is far."""
    geometry = Geometry(output.metric, output.shape, output.curvature)

    def distances(expected: Values, got: Values) -> Values:
        pairs = zip(expected, got, strict=True)
        with np.errstate(invalid="ignore"):  # a point outside is NaN away, which no bound takes
            found = [geometry.compare(a[None], geometry.query(b, len(b)))[0] for a, b in pairs]
        return -np.array(found) * output.curvature**0.5

    return distances


def _absolute_difference(expected: Values, got: Values) -> Values:
    return np.abs(expected - got).reshape(len(got), -1).max(axis=1)


def _equal_share(expected: Values, got: Values) -> Values:
    return (expected == got).reshape(len(got), -1).mean(axis=1)


def _check_interface(session: Any, part: Part) -> None:  # noqa: ANN401 - onnxruntime is untyped
    """Names, dtypes and axes in order: the batch axis dynamic, every other fixed."""
    inputs = [_Axes(part.input.name, *_input_axes(part.input))]
    outputs = [_Axes(output.name, *_output_axes(output)) for output in part.outputs]
    for kind, found, expected in (
        ("inputs", session.get_inputs(), inputs),
        ("outputs", session.get_outputs(), outputs),
    ):
        said = [_Axes(value.name, value.type, tuple(value.shape)) for value in found]
        if said != expected:
            raise VerificationError(
                f"{kind} of the graph are {_words(said)}, its contract says {_words(expected)}"
            )


@dataclass(frozen=True)
class _Axes:
    name: str
    dtype: str
    shape: tuple[int | str, ...]


def _words(values: list[_Axes]) -> str:
    return ", ".join(f"{value.name} {value.dtype} {list(value.shape)}" for value in values)


_FLOAT: Final = "tensor(float)"
_UINT8: Final = "tensor(uint8)"


def _input_axes(contract: Input) -> tuple[str, tuple[int | str, ...]]:
    if isinstance(contract, ImageInput):
        return _UINT8, (BATCH, contract.height, contract.width, 3)
    return "tensor(int64)", (BATCH, contract.context_length)


def _output_axes(output: Output) -> tuple[str, tuple[int | str, ...]]:
    dtype = _UINT8 if output.meaning is Meaning.LABEL_MAP else _FLOAT
    return dtype, (BATCH, *output.shape)

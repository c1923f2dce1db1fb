"""What an output promises by its meaning, checked on the values of a real run."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kokeshi.contract import Meaning, Output
from kokeshi.errors import ArtefactError, VerificationError
from kokeshi.index.geometry import EDGE

_SLACK: Final = 1e-3  # of a float32 sum over some thousand terms
_MAX_CLASSES_OF_A_MAP: Final = 256  # a label map is uint8


def check_contract(outputs: Sequence[Output], labels: Sequence[str]) -> None:
    """Checks what can be seen without a run: names, numbers of labels, prefix lengths.

    Raises:
        ArtefactError: the outputs contradict one another or the labels.
    """
    names = [output.name for output in outputs]
    if not names or len(set(names)) < len(names):
        raise ArtefactError(f"outputs must have names of their own, not {names}")
    trained = {dim for output in outputs for dim in output.dimensions}
    for output in outputs:
        if output.dimension is not None and output.dimension not in trained:
            raise ArtefactError(
                f"output {output.name!r} reads prefix length {output.dimension}, "
                f"the embedding has {sorted(trained)}"
            )
        if labels:
            _check_labels(output, len(labels))


def _check_labels(output: Output, count: int) -> None:
    if output.meaning is Meaning.LABEL_MAP and count > _MAX_CLASSES_OF_A_MAP:
        raise ArtefactError(f"a label map holds at most 256 classes, not {count}")
    classes = output.meaning in {Meaning.PROBABILITIES, Meaning.SCORES}
    if classes and output.shape != (count,):
        raise ArtefactError(
            f"output {output.name!r} has {output.shape[0]} classes, {count} labels were given"
        )


def check_values(output: Output, values: NDArray[Any], labels: Sequence[str]) -> None:
    """Checks a batch of an output's values, (N, *output.shape).

    Raises:
        VerificationError: shape, dtype, range, sum or norm is not what the meaning promises.
    """
    dtype = np.uint8 if output.meaning is Meaning.LABEL_MAP else np.float32
    if values.dtype != dtype or values.shape[1:] != output.shape:
        raise VerificationError(
            f"output {output.name!r} is {values.dtype} {values.shape[1:]}, "
            f"its contract says {np.dtype(dtype)} {output.shape}"
        )
    if not np.isfinite(values).all():
        raise VerificationError(f"output {output.name!r} is not finite")
    if broken := _CHECKS[output.meaning](output, values, labels):
        raise VerificationError(f"output {output.name!r} breaks its promise: {broken}")


def _range(_: Output, values: NDArray[Any], __: Sequence[str]) -> str:
    low, high = float(values.min()), float(values.max())
    kept = low >= -_SLACK and high <= 1 + _SLACK
    return "" if kept else f"values lie in [{low:.4g}, {high:.4g}], not in [0, 1]"


def _probabilities(output: Output, values: NDArray[Any], labels: Sequence[str]) -> str:
    sums = values.sum(axis=1)
    worst = float(sums[np.abs(sums - 1).argmax()])
    if abs(worst - 1) > _SLACK:
        return f"a row sums to {worst:.6g}, not to 1"
    return _range(output, values, labels)


def _embedding(output: Output, values: NDArray[Any], _: Sequence[str]) -> str:
    norms = np.linalg.norm(values.astype(np.float64), axis=1)
    worst = float(norms[np.abs(norms - 1).argmax()])
    if output.normalised and abs(worst - 1) > _SLACK:
        return f"a row has norm {worst:.6g}, not 1"
    if output.metric == "hyperbolic":
        furthest = float(norms.max()) * output.curvature**0.5
        if furthest > 1 - EDGE:
            return f"a row lies at {furthest:.7g} of the ball's radius, not within {1 - EDGE:g}"
        return ""
    for dim in output.dimensions:
        if not np.linalg.norm(values[:, :dim], axis=1).all():
            return f"the first {dim} values of a row are all zero and cannot be normalised"
    return ""


def _label_map(_: Output, values: NDArray[Any], labels: Sequence[str]) -> str:
    highest = int(values.max())
    kept = not labels or highest < len(labels)
    return "" if kept else f"a pixel is of class {highest}, there are {len(labels)} labels"


_CHECKS: Final[dict[Meaning, Callable[[Output, NDArray[Any], Sequence[str]], str]]] = {
    Meaning.PROBABILITIES: _probabilities,
    Meaning.SCORES: _range,
    Meaning.FOREGROUND: _range,
    Meaning.EMBEDDING: _embedding,
    Meaning.LABEL_MAP: _label_map,
}

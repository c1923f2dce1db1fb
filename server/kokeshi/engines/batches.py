"""One execution: requests become a batch, and its outputs the answers of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kokeshi.engines.protocol import Tensors

Outputs = dict[str, NDArray[Any]]
Run = Callable[[Tensors], Outputs]


@dataclass(slots=True)
class Times:
    """When the steps of an execution ended, in nanoseconds of the monotonic clock."""

    start_ns: int
    input_ns: int
    infer_ns: int
    output_ns: int


def run_batch(
    run: Run, inputs: Sequence[Tensors], rows: Sequence[int]
) -> tuple[list[Outputs], Times]:
    """Runs requests as one batch.

    Args:
        run: the graph.
        inputs: of each request, with the same names and row shapes.
        rows: of each request.

    Returns:
        Outputs of each request, views of the batch's; and when it happened.

    Raises:
        ValueError: an output has not one row per row of the batch, so it cannot be divided.
    """
    start_ns = monotonic_ns()
    if len(inputs) == 1:
        outputs = run(inputs[0])
        end_ns = monotonic_ns()
        return [outputs], Times(start_ns, start_ns, end_ns, end_ns)
    merged = {name: np.concatenate([each[name] for each in inputs]) for name in inputs[0]}
    input_ns = monotonic_ns()
    outputs = run(merged)
    infer_ns = monotonic_ns()
    parts = _split(outputs, rows)
    return parts, Times(start_ns, input_ns, infer_ns, monotonic_ns())


def _split(outputs: Outputs, rows: Sequence[int]) -> list[Outputs]:
    total = sum(rows)
    for name, values in outputs.items():
        if values.shape[:1] != (total,):
            raise ValueError(f"output {name!r} of a batch of {total} has the shape {values.shape}")
    parts, start = list[Outputs](), 0
    for count in rows:
        end = start + count
        parts.append({name: values[start:end] for name, values in outputs.items()})
        start = end
    return parts

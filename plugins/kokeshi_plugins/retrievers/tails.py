"""Weibull fits to many samples at once.

The maximum of the likelihood over the shape solves, for x scaled by any factor,
sum x^c ln x / sum x^c - 1/c = mean ln x; the scale follows. The left side rises in c, and Newton's
method finds it (Cohen; 1965, https://doi.org/10.1080/00401706.1965.10490300).
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from kokeshi.plugin import go_on

Floats = npt.NDArray[np.float64]
STEPS: Final = 60
SHAPES: Final = (0.05, 500.0)  # a sample of equal values has no finite shape


def weibull(samples: Floats) -> tuple[Floats, Floats]:
    """Shapes (rows,) and scales (rows,) of the two-parameter Weibull laws of (rows, n) samples."""
    largest = samples.max(axis=1, keepdims=True)
    scaled = np.maximum(samples / np.maximum(largest, np.finfo(float).tiny), 1e-12)
    logs = np.log(scaled)
    mean = logs.mean(axis=1)
    # The deviation of ln x is pi / (shape sqrt 6).
    shape = np.clip(np.pi / np.sqrt(6) / np.maximum(logs.std(axis=1), 1e-9), *SHAPES)
    for _ in range(STEPS):
        go_on()
        powers = np.exp(shape[:, None] * logs)
        total = powers.sum(axis=1)
        first = (powers * logs).sum(axis=1) / total
        bend = (powers * logs**2).sum(axis=1) / total - first**2 + shape**-2
        step = (first - 1 / shape - mean) / bend
        shape = np.clip(np.maximum(shape - step, shape / 2), *SHAPES)
        if (np.abs(step) <= 1e-12 * shape).all():
            break
    powers = np.exp(shape[:, None] * logs)
    return shape, largest[:, 0] * powers.mean(axis=1) ** (1 / shape)

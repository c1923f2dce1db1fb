"""PCA rotation: orders the dimensions of any embedding, so that prefixes make sense.

On lines and planes of closest fit to systems of points in space (Pearson; 1901),
https://doi.org/10.1080/14786440109462720.

The rotation is of the directions from the origin, not from the mean: taking a mean off would change
cosines, and a rotation changes none. So the first m dimensions keep the largest share of the
squared length (the energy) that m orthogonal directions can keep over the sample.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.errors import DimensionError, InvalidRequestError
from kokeshi.plugin import Bounds, Paper, Retriever, Sample, go_on
from kokeshi_plugins.retrievers.fitted import Array, Fitted

PAPER: Final = Paper(
    title="On lines and planes of closest fit to systems of points in space",
    authors="Pearson",
    year=1901,
    url="https://doi.org/10.1080/14786440109462720",
)


class Rotation(Fitted):
    """`axes` (dim, dim) float64 holds the new axes in columns; `energy` is (dim,), falling."""

    axes: Array
    energy: Array  # mean square of each rotated dimension over the sample
    count: int  # of the items that it was fitted on


def fit(sample: Sample, settings: Mapping[str, Any]) -> Rotation:
    """Eigenvectors of the second moments, by falling eigenvalue; signs are those of the sample.

    Raises:
        InvalidRequestError: fewer items than dimensions, so that axes are left to chance.
    """
    vectors = sample.vectors.astype(np.float64)
    count, dim = vectors.shape
    least = int(np.ceil(settings["items_per_dimension"] * dim))
    if count < least:
        raise InvalidRequestError(
            f"expected at least {least} items to rotate {dim} dimensions, got {count}"
        )
    go_on()
    energy, axes = np.linalg.eigh(vectors.T @ vectors / count)
    energy, axes = np.maximum(energy[::-1], 0), axes[:, ::-1]
    largest = axes[np.argmax(np.abs(axes), axis=0), np.arange(dim)]
    return Rotation(
        axes=axes * np.where(largest < 0, -1.0, 1.0), energy=energy, count=count, space=sample.space
    )


def apply(vectors: npt.NDArray[np.float32], model: Rotation) -> npt.NDArray[np.float32]:
    """Rotates (n, dim) float32; lengths and cosines stay.

    Raises:
        DimensionError: the vectors are of another length.
    """
    _check(vectors, model)
    return (vectors.astype(np.float64) @ model.axes).astype(np.float32)


def _check(vectors: npt.NDArray[np.float32], model: Rotation) -> None:
    wanted, got = len(model.axes), vectors.shape[-1]
    if wanted != got:
        raise DimensionError(f"the rotation takes vectors of length {wanted}, got {got}")


def figures(model: Rotation) -> dict[str, Any]:
    """`items`, and the `share` of their squared length that the first `dimension`s `kept`."""
    dim = len(model.energy)
    lengths = [2**power for power in range(dim.bit_length()) if 2**power < dim]
    whole = max(float(model.energy.sum()), np.finfo(float).tiny)
    kept = [
        {"dimension": length, "share": float(model.energy[:length].sum()) / whole}
        for length in (*lengths, dim)
    ]
    return {"items": model.count, "kept": kept}


PCA: Final = Retriever(
    name="pca_rotation",
    paper=PAPER,
    licence="Apache-2.0",
    fit=fit,
    figures=figures,
    apply=apply,
    model=Rotation,
    defaults={"items_per_dimension": 2.0},
    bounds={"items_per_dimension": Bounds(0.01, 1_000)},
    summary="Rotates an embedding so that each prefix keeps as much of it as a prefix can.",
)

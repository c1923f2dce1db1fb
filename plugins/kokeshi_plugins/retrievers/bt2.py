"""BT^2: new embeddings whose first part an old gallery understands.

BT^2: Backward-compatible Training with Basis Transformation (Zhou et al.; ICCV 2023),
https://arxiv.org/abs/2211.03989. Code: https://github.com/YifeiZhou02/BT-2.

The trained network gives two features: psi, which imitates the old model, and phi, the new model's.
With P and Q orthonormal, C a constant and a dimensions added,

    z = concat(unit(psi[:a]), P (C unit(phi)))
    bct = Q z[:old],   embedding = concat(bct, z[old:])

`bct` is compared with old embeddings, the whole with new ones, both by inner product. z has length
sqrt(1 + C^2), so among whole new embeddings that ranks as the cosine; a gallery of `bct` has no
constant length, and the authors do not normalise it. The authors' networks for ResNet and for ViT
differ in whether psi is normalised before it is cut (ResNet: both times; ViT: after the cut); the
result is the same, for a positive factor cancels.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.errors import DimensionError
from kokeshi.plugin import Retriever
from kokeshi_plugins.retrievers.fitted import Array, Fitted, unit
from kokeshi_plugins.retrievers.maps import PAPER


class Basis(Fitted):
    """What training leaves.

    Attributes:
        rotation: P, (new, new).
        old_rotation: Q, (old, old).
        added: a.
        scale: C; the authors' configurations have 2, their class 3.
    """

    rotation: Array
    old_rotation: Array
    added: int
    scale: float

    @property
    def source_dim(self) -> int:
        """Length that `apply` takes: psi[:a] and phi side by side."""
        return self.added + len(self.rotation)


def apply(vectors: npt.NDArray[np.float32], model: Basis) -> npt.NDArray[np.float32]:
    """The whole embedding (n, a + new) float32; its first `old` dimensions are `bct`.

    Args:
        vectors: (n, a + new) float32, psi cut to a and phi side by side; neither is normalised.
        model: the trained basis.

    Raises:
        DimensionError: the vectors are of another length.
    """
    if vectors.shape[-1] != model.source_dim:
        raise DimensionError(
            f"the basis takes vectors of length {model.source_dim}, got {vectors.shape[-1]}"
        )
    psi, phi = vectors[:, : model.added], vectors[:, model.added :]
    z = np.concatenate([unit(psi), model.scale * unit(phi) @ model.rotation.T], axis=1)
    old = len(model.old_rotation)
    z[:, :old] = z[:, :old] @ model.old_rotation.T
    return z.astype(np.float32)


def backward_plan(settings: Mapping[str, Any], model: Basis) -> dict[str, Any]:
    """How to search each gallery: metric, and length of the query."""
    del settings
    return {
        "old_gallery": {"metric": "ip", "dimension": len(model.old_rotation)},
        "new_gallery": {"metric": "ip", "dimension": model.source_dim},
    }


BT2: Final = Retriever(
    name="bt2",
    paper=PAPER,
    licence="Apache-2.0",
    apply=apply,
    plan=backward_plan,
    model=Basis,
    rows=(390,),
    summary="Basis transformation of a backward-compatible model's features.",
)

"""An exact scan that gives a row up as soon as its first numbers show that it is too far.

Worth it where the energy of the vectors lies in their first numbers, as Matryoshka training or a
rotation to principal components puts it ("Panorama: Fast-Track Nearest Neighbors", 2025); FAISS's.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from kokeshi.index.forms.form import FaissForm
from kokeshi.index.geometry import Geometry
from kokeshi.index.kernels.engine import load_faiss

MOST_LEVELS: Final = 16


@dataclass(frozen=True, eq=False)
class PanoramaForm(FaissForm):
    """Full vectors, stored level by level, with the norms of what follows each."""

    kind: ClassVar[str] = "panorama"
    is_exact: ClassVar[bool] = True

    @property
    def memory_bytes(self) -> int:
        """See `Form`."""
        return int(4 * self.size * (self.index.d + self.index.n_levels + 1))

    def _params(self, faiss: Any, width: int, breadth: int, selector: Any) -> Any:  # noqa: ANN401 - FAISS is untyped
        return None if selector is None else faiss.SearchParameters(sel=selector)


def empty_levels(geometry: Geometry, length: int) -> Any:  # noqa: ANN401 - FAISS is untyped
    """Levels without rows, each as long as the shortest trained length, at most MOST_LEVELS."""
    faiss = load_faiss()
    levels = max(1, min(MOST_LEVELS, length // geometry.dimensions[0]))
    kind = faiss.IndexFlatL2Panorama if geometry.metric == "l2" else faiss.IndexFlatIPPanorama
    return kind(length, levels)

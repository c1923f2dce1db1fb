"""Inverted lists of RaBitQ codes (Gao and Long, "RaBitQ", SIGMOD 2024), by FAISS.

The codes are a bit per number and two floats per row: the smallest form, for collections that
memory cannot hold otherwise. Its candidates want a long shortlist.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from kokeshi.index.forms.form import FaissForm
from kokeshi.index.geometry import Geometry
from kokeshi.index.kernels.engine import load_faiss, metric_of

ROWS_PER_LIST: Final = 256  # and no fewer lists than one
MOST_LISTS: Final = 65_536
SAMPLE_PER_LIST: Final = 64  # rows to train on
PROBED_SHARE: Final = 1 / 32  # of the lists, in a search that names no number
LEAST_PROBES: Final = 16


@dataclass(frozen=True, eq=False)
class IvfForm(FaissForm):
    """Lists of rows near one centre each."""

    kind: ClassVar[str] = "ivf"

    @property
    def memory_bytes(self) -> int:
        """See `Form`."""
        row = self.index.code_size + 8
        return int(self.size * row + 4 * self.index.nlist * self.index.d)

    def _params(self, faiss: Any, width: int, breadth: int, selector: Any) -> Any:  # noqa: ANN401 - FAISS is untyped
        return faiss.IVFRaBitQSearchParameters(nprobe=min(breadth, self.index.nlist), sel=selector)


def lists_for(size: int) -> int:
    """How many lists suit so many rows."""
    return max(1, min(MOST_LISTS, size // ROWS_PER_LIST))


def probes_of(index: Any) -> int:  # noqa: ANN401 - FAISS is untyped
    """Lists that a search scans where it names no number."""
    return min(index.nlist, max(LEAST_PROBES, round(PROBED_SHARE * index.nlist)))


def empty_lists(geometry: Geometry, length: int, size: int) -> Any:  # noqa: ANN401 - FAISS is untyped
    """Lists for so many rows, untrained."""
    description = f"IVF{lists_for(size)},RaBitQfs"
    index = load_faiss().index_factory(length, description, metric_of(geometry))
    index.cp.min_points_per_centroid = 1  # a warning on standard error
    index.cp.seed = 1
    return index

"""A navigable graph over prefixes (Malkov and Yashunin, 2016), by FAISS.

Its nodes hold 8 bits per number. A walk waits for memory more than it computes: against float32,
walks and builds take about half the time and a quarter of the bytes, and the recall is the same,
since exact scores settle the order of what a walk finds.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from kokeshi.index.forms.form import FaissForm
from kokeshi.index.geometry import Geometry
from kokeshi.index.kernels.engine import load_faiss, metric_of
from kokeshi.index.tuning import Tuning

SAMPLE_ROWS: Final = 65_536  # that show the range; what lies outside is cut to it


@dataclass(frozen=True, eq=False)
class HnswForm(FaissForm):
    """A graph whose nodes hold their prefixes in 8 bits per number."""

    kind: ClassVar[str] = "hnsw"

    @property
    def memory_bytes(self) -> int:
        """See `Form`."""
        graph = self.index.hnsw
        links = 4 * graph.neighbors.size() + 8 * graph.offsets.size() + 4 * graph.levels.size()
        return int(
            links + self.size * load_faiss().downcast_index(self.index.storage).sa_code_size()
        )

    def _params(self, faiss: Any, width: int, breadth: int, selector: Any) -> Any:  # noqa: ANN401 - FAISS is untyped
        return faiss.SearchParametersHNSW(efSearch=max(breadth, width), sel=selector)


def empty_graph(geometry: Geometry, length: int, tuning: Tuning) -> Any:  # noqa: ANN401 - FAISS is untyped
    """A graph without nodes, untrained: it has yet to learn the range of the numbers."""
    faiss = load_faiss()
    graph = faiss.IndexHNSWSQ(
        length,
        faiss.ScalarQuantizer.QT_8bit_uniform,
        tuning.hnsw_links,
        metric_of(geometry),
    )
    graph.hnsw.efConstruction = tuning.ef_construction
    return graph

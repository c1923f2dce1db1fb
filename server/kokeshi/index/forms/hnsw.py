"""A navigable graph over prefixes (Malkov and Yashunin, 2016), by FAISS.

Its nodes hold 16 or 8 bits per number. A walk waits for memory more than it computes: against
float32, walks and builds take about half the time; exact scores settle the order of what a walk
finds. Where vectors are short, links are most of what is read and 16 bits pay: over 200,000 patches
of photographs by 128 numbers efSearch 24 then finds 98.7 % of the ten nearest, with 8 bits 96.5 %
in the same time (`benchmarks/index/nodes.py`).
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from kokeshi.index.forms.form import FaissForm
from kokeshi.index.geometry import Geometry
from kokeshi.index.kernels.engine import load_faiss, metric_of
from kokeshi.index.tuning import Tuning

SHORT: Final = 128  # numbers, of which 16 bits are kept
SAMPLE_ROWS: Final = 65_536  # that show the range; what lies outside is cut to it


@dataclass(frozen=True, eq=False)
class HnswForm(FaissForm):
    """A graph whose nodes hold their prefixes in fewer bits than float32."""

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
    kinds = faiss.ScalarQuantizer
    # only what has unit norm is sure to lie where a float16 is exact enough
    is_short = length <= SHORT and geometry.metric == "cosine"
    kind = kinds.QT_fp16 if is_short else kinds.QT_8bit_uniform
    graph = faiss.IndexHNSWSQ(length, kind, tuning.hnsw_links, metric_of(geometry))
    graph.hnsw.efConstruction = tuning.ef_construction
    return graph

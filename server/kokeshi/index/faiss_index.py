"""FAISS, kept behind what it cannot do: an index is built aside, then never changed again.

Adding to an index while it is searched crashes the process, NaNs are silently unreachable and its
files carry no checksum; so vectors are checked at the door, `kokeshi.index.cache` checksums, and
`Base` is immutable.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from kokeshi.errors import SetupError
from kokeshi.index.geometry import SHORTEST_PREFIX, Block, Doubles, Geometry
from kokeshi.index.store import Metric, Vector
from kokeshi.index.tuning import Tuning

BUILD_ROWS: Final = 2048  # between two looks at whether to stop

Bits = npt.NDArray[np.uint8]


class BuildStoppedError(Exception):
    """The store is closing; a half-built index was thrown away."""


@dataclass(frozen=True, eq=False)
class Base:
    """A finished index.

    Attributes:
        block: the rows; the matrix is a view of FAISS's memory, not a copy.
        flat: IndexFlat with the full vectors.
        graph: IndexHNSWFlat, or None; where it spans the full length, `flat` is its storage.
        graph_dimension: length that the graph was built on.
        seq: the last write that it covers.
    """

    block: Block
    flat: Any
    graph: Any | None
    graph_dimension: int
    seq: int


def load_faiss() -> Any:  # noqa: ANN401 - FAISS is untyped
    """Imports FAISS.

    Raises:
        SetupError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise SetupError(
            "collections of this size need FAISS: install kokeshi[cpu] or kokeshi[gpu]"
        ) from error
    return faiss


def build(
    geometry: Geometry,
    blocks: Iterable[Block],
    *,
    seq: int,
    graph_dimension: int | None,
    tuning: Tuning,
    is_stopped: Callable[[], bool],
) -> Base:
    """Builds an index over blocks, flat when `graph_dimension` is None.

    Raises:
        BuildStoppedError: `is_stopped` said so.
    """
    faiss = load_faiss()
    # leave cores to the searches; FAISS keeps this per calling thread
    faiss.omp_set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    graph = None if graph_dimension is None else _new_graph(geometry, graph_dimension, tuning)
    is_shared = graph_dimension == geometry.dim
    flat = _storage(graph) if is_shared else faiss.IndexFlat(geometry.dim, _metric(geometry.metric))
    return _extended(geometry, flat, graph, [], blocks, seq=seq, is_stopped=is_stopped)


def extend(
    geometry: Geometry,
    base: Base,
    blocks: Iterable[Block],
    *,
    seq: int,
    is_stopped: Callable[[], bool],
) -> Base:
    """Copies an index and adds blocks to the copy: a graph need not be linked anew.

    Raises:
        BuildStoppedError: `is_stopped` said so.
    """
    faiss = load_faiss()
    faiss.omp_set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    graph = None if base.graph is None else faiss.clone_index(base.graph)
    is_shared = graph is not None and base.graph_dimension == geometry.dim
    flat = _storage(graph) if is_shared else faiss.clone_index(base.flat)
    return _extended(geometry, flat, graph, [base.block], blocks, seq=seq, is_stopped=is_stopped)


def opened(geometry: Geometry, rows: Block, flat: Any, graph: Any | None, seq: int) -> Base:  # noqa: ANN401 - FAISS is untyped
    """An index read from files; `rows` holds everything but the matrix."""
    if flat is None:
        flat = _storage(graph)
    block = Block(rows.rows, _view(flat, geometry.dim), rows.scales)
    return Base(block, flat, graph, graph.d if graph is not None else geometry.dim, seq)


def search_graph(
    base: Base, query: Doubles, k: int, *, breadth: int, live_bits: Bits | None
) -> npt.NDArray[np.intp]:
    """Positions that the graph finds for one query of its own length; fewer than k where it fails.

    Args:
        base: an index with a graph.
        query: made by `Geometry.query`.
        k: neighbours wanted.
        breadth: candidates kept on the way, efSearch.
        live_bits: one bit per row, little-endian, set where the row lives; None: all do.
    """
    assert base.graph is not None
    faiss = load_faiss()
    faiss.omp_set_num_threads(1)
    # the selector must outlive the call, and the bits the selector
    selector = None if live_bits is None else faiss.IDSelectorBitmap(live_bits)
    params = faiss.SearchParametersHNSW(efSearch=breadth, sel=selector)
    _, found = base.graph.search(query[None].astype(np.float32), k, params=params)
    return found[0][found[0] >= 0]


def search_flat(
    base: Base, queries: list[Doubles], k: int, *, live_bits: Bits | None
) -> tuple[Vector, npt.NDArray[np.intp]]:
    """Scores and positions of the k nearest rows of full-length queries, both (queries, k).

    Scores are inner products, or squared L2 distances negated; missing ones have position -1.
    One thread and no BLAS pool: beside other load it is many times as fast as a threaded product.

    Args:
        base: an index.
        queries: made by `Geometry.query`.
        k: neighbours wanted.
        live_bits: see `search_graph`.
    """
    faiss = load_faiss()
    faiss.omp_set_num_threads(1)
    selector = None if live_bits is None else faiss.IDSelectorBitmap(live_bits)
    params = None if selector is None else faiss.SearchParameters(sel=selector)
    scores, found = base.flat.search(np.stack(queries).astype(np.float32), k, params=params)
    is_distance = base.flat.metric_type == faiss.METRIC_L2
    return (-scores if is_distance else scores), found


def _new_graph(geometry: Geometry, dimension: int, tuning: Tuning) -> Any:  # noqa: ANN401 - FAISS is untyped
    faiss = load_faiss()
    graph = faiss.IndexHNSWFlat(dimension, tuning.hnsw_links, _metric(geometry.metric))
    graph.hnsw.efConstruction = tuning.ef_construction
    return graph


def _extended(
    geometry: Geometry,
    flat: Any,  # noqa: ANN401 - FAISS is untyped
    graph: Any | None,  # noqa: ANN401 - FAISS is untyped
    done: list[Block],
    blocks: Iterable[Block],
    *,
    seq: int,
    is_stopped: Callable[[], bool],
) -> Base:
    is_shared = graph is not None and graph.d == geometry.dim
    parts = list(done)
    for block in blocks:
        for start in range(0, len(block), BUILD_ROWS):
            if is_stopped():
                raise BuildStoppedError
            part = block.part(slice(start, start + BUILD_ROWS))
            parts.append(part)
            if not is_shared:
                flat.add(part.matrix)
            if graph is not None:
                graph.add(_prefixes(geometry, part.matrix, graph.d))
    rows = np.concatenate([part.rows for part in parts] or [np.empty(0, np.int64)])
    scales = np.concatenate([part.scales for part in parts] or [geometry.empty().scales], axis=1)
    block = Block(rows, _view(flat, geometry.dim), scales)
    return Base(block, flat, graph, graph.d if graph is not None else geometry.dim, seq)


def _prefixes(geometry: Geometry, matrix: Vector, dimension: int) -> Vector:
    """Contiguous prefixes for a graph, unit norm under cosine; one without direction stays 0."""
    prefixes: npt.NDArray[Any] = matrix[:, :dimension]
    if geometry.metric == "cosine" and dimension != geometry.dim:
        norms = np.linalg.norm(prefixes, axis=1, keepdims=True)
        prefixes = prefixes / np.where(norms > SHORTEST_PREFIX, norms, 1)
    return np.ascontiguousarray(prefixes, dtype=np.float32)


def _storage(graph: Any) -> Any:  # noqa: ANN401 - FAISS is untyped
    """The IndexFlat inside an IndexHNSWFlat, which must be kept alive beside it."""
    return load_faiss().downcast_index(graph.storage)


def _view(flat: Any, dim: int) -> Vector:  # noqa: ANN401 - FAISS is untyped
    """FAISS's own (n, dim) vectors, read-only; valid while the index lives."""
    if flat.ntotal == 0:
        return np.empty((0, dim), np.float32)
    view: Vector = load_faiss().rev_swig_ptr(flat.get_xb(), flat.ntotal * dim).reshape(-1, dim)
    view.flags.writeable = False
    return view


def _metric(metric: Metric) -> int:
    faiss = load_faiss()
    return int(faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2)

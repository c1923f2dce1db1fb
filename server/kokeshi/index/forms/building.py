"""How forms are made and how they grow."""

import os
from collections.abc import Sequence
from typing import Any, Final

from kokeshi.index.forms.form import FaissForm, Form, IsStopped, Progress, fill
from kokeshi.index.forms.hnsw import SAMPLE_ROWS, HnswForm, empty_graph
from kokeshi.index.forms.ivf import SAMPLE_PER_LIST, IvfForm, empty_lists, lists_for, probes_of
from kokeshi.index.forms.panorama import PanoramaForm, empty_levels
from kokeshi.index.forms.rows import chunks, sample
from kokeshi.index.geometry import Geometry
from kokeshi.index.kernels import Part, offsets
from kokeshi.index.kernels.engine import load_faiss, threaded
from kokeshi.index.spec import Metric
from kokeshi.index.tuning import Tuning

KINDS: Final = ("hnsw", "ivf", "panorama")


def serves(kind: str, metric: Metric) -> bool:
    """Tells whether a form finds neighbours under a metric.

    None does under the hyperbolic one: its Lorentz products lead a graph and the centres of lists
    to the edge of the ball, whatever the query. A scan is exact there.
    """
    return kind in KINDS and metric != "hyperbolic"


def build_threads() -> int:
    """Half of the cores, so that searches go on beside a build."""
    return max(1, (os.cpu_count() or 1) // 2)


def build(
    kind: str,
    geometry: Geometry,
    parts: Sequence[Part],
    length: int,
    tuning: Tuning,
    is_stopped: IsStopped = lambda: False,
    progress: Progress = lambda share: None,
    threads: int | None = None,
) -> Form:
    """Builds a form over all rows of the parts, in order; what is not allowed there is in it too.

    Args:
        kind: one of KINDS that `serves` the metric.
        geometry: of the rows.
        parts: the rows.
        length: trained prefix length that is compared.
        tuning: of the graph.
        is_stopped: asked now and then.
        progress: told the share that is done, 0 to 1.
        threads: that build; None is half of the cores.

    Raises:
        BuildStoppedError: `is_stopped` said so.
    """
    assert serves(kind, geometry.metric), f"no form {kind!r} for {geometry.metric!r}"
    size = offsets(parts)[-1]
    form = _empty(kind, geometry, parts, length, size, tuning)
    threads = threads or build_threads()
    _fill(form, geometry, parts, size, threads, is_stopped, progress)
    return form


def extend(
    form: Form,
    geometry: Geometry,
    parts: Sequence[Part],
    is_stopped: IsStopped = lambda: False,
    progress: Progress = lambda share: None,
    threads: int | None = None,
) -> Form:
    """Copies a form and adds the rows that came after it; its first rows must be the same still.

    Args:
        form: what `build`, `extend` or `read` made.
        geometry: of the rows.
        parts: all rows, those that the form covers first.
        is_stopped: see `build`.
        progress: see `build`.
        threads: see `build`.

    Raises:
        BuildStoppedError: `is_stopped` said so.
    """
    assert isinstance(form, FaissForm)
    copy = _copied(form, geometry)
    size = offsets(parts)[-1]
    _fill(copy, geometry, parts, size, threads or build_threads(), is_stopped, progress)
    return copy


def _empty(
    kind: str, geometry: Geometry, parts: Sequence[Part], length: int, size: int, tuning: Tuning
) -> FaissForm:
    if kind == "hnsw":
        index = empty_graph(geometry, length, tuning)
        index.train(sample(geometry, parts, length, size, SAMPLE_ROWS))
        return HnswForm(index, length, tuning.ef_search)
    if kind == "ivf":
        index = _trained_lists(geometry, parts, length, size)
        return IvfForm(index, length, probes_of(index))
    return PanoramaForm(empty_levels(geometry, length), length, 0)


def _copied(form: FaissForm, geometry: Geometry) -> FaissForm:
    if isinstance(form, PanoramaForm):
        # FAISS 1.15 clones its inner product index as a plain one that misreads the levels, and to
        # store the rows anew takes no longer than a copy
        return PanoramaForm(empty_levels(geometry, form.first), form.first, form.breadth)
    return type(form)(load_faiss().clone_index(form.index), form.first, form.breadth)


def _trained_lists(geometry: Geometry, parts: Sequence[Part], length: int, size: int) -> Any:  # noqa: ANN401 - FAISS is untyped
    index = empty_lists(geometry, length, size)
    most = SAMPLE_PER_LIST * lists_for(size)
    with threaded(build_threads()):
        index.train(sample(geometry, parts, length, size, most))
    return index


def _fill(
    form: FaissForm,
    geometry: Geometry,
    parts: Sequence[Part],
    size: int,
    threads: int,
    is_stopped: IsStopped,
    progress: Progress,
) -> None:
    rows = chunks(geometry, parts, form.first, form.size, size)
    fill(form.index, rows, size, threads, is_stopped, progress)

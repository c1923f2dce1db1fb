"""What a collection should be searched by, and when its index has fallen behind that."""

from typing import Final

from kokeshi.index.geometry import Geometry
from kokeshi.index.gpu import gpus
from kokeshi.index.kernels import are_coded
from kokeshi.index.snapshot import Snapshot
from kokeshi.index.spec import CollectionSpec
from kokeshi.index.tuning import Tuning

# Candidates are taken by the shortest trained prefix that is at least this long and this share of
# the full length: longer for a graph, which finds less than it passes, than for a scan. On the hard
# set codes of an eighth keep 99.7 % of the ten nearest in 200 rows, of a quarter 100 % in 50; what
# they cost is what is read of them.
CANDIDATE_DIMENSION: Final = 64
CANDIDATE_SHARE: Final = 0.25
CODES_SHARE: Final = 0.125
FORMS: Final = ("hnsw", "ivf", "panorama")


def candidate_dimension(geometry: Geometry, share: float = CANDIDATE_SHARE) -> int:
    """The prefix that candidates are taken by where nobody chose another."""
    least = max(CANDIDATE_DIMENSION, share * geometry.dim)
    return next((length for length in geometry.dimensions if length >= least), geometry.dim)


def codes_width(spec: CollectionSpec) -> int | None:
    """Length of the int8 codes that a collection keeps; None: it keeps none."""
    if not are_coded(spec.metric) or spec.index in {"flat", "panorama"}:
        return None
    return candidate_dimension(Geometry.of(spec), CODES_SHARE)


def wanted_form(spec: CollectionSpec, snapshot: Snapshot, tuning: Tuning) -> str | None:
    """Kind of the form that a collection should have; None: it is scanned."""
    if spec.index in FORMS:
        return spec.index if snapshot.count > tuning.tail_rows else None
    if snapshot.count > tuning.tail_rows and gpus.GPUS.suits(
        spec, snapshot.rows, gpu_lengths(spec), tuning.gpu
    ):
        return "gpu"
    is_large = snapshot.count > max(tuning.tail_rows, tuning.hnsw_rows - 1)
    is_free = spec.index in {"auto", "gpu"} and spec.metric != "hyperbolic"
    return "hnsw" if is_free and is_large else None


def form_length(spec: CollectionSpec, kind: str) -> int:
    """Length that a form is built on."""
    if kind != "hnsw":
        return spec.dim
    return spec.graph_dimension or candidate_dimension(Geometry.of(spec))


def gpu_lengths(spec: CollectionSpec) -> tuple[int, ...]:
    """Lengths that a form on GPUs may have: the full one, or where that is too large a shorter."""
    least = candidate_dimension(Geometry.of(spec))
    return tuple(length for length in reversed(spec.trained) if length >= least)


def wants_form(spec: CollectionSpec, snapshot: Snapshot, tuning: Tuning) -> bool:
    """True when a form should be built or extended."""
    kind, form = wanted_form(spec, snapshot, tuning), snapshot.form
    if kind is None:
        return False
    if form is None or form.kind != kind:
        return True
    limit = max(tuning.tail_rows, int(tuning.tail_share * form.size))
    return snapshot.rows - form.size > limit


def wants_compaction(snapshot: Snapshot, tuning: Tuning) -> bool:
    """True when too many of the rows that are held are dead."""
    return snapshot.dead > max(tuning.dead_rows, int(tuning.dead_share * snapshot.rows))


def scan_kind(spec: CollectionSpec, snapshot: Snapshot, tuning: Tuning) -> str:
    """How rows are scanned that no form covers: "flat" or by their "codes"."""
    return "flat" if codes_width(spec) is None or not is_large(spec, snapshot, tuning) else "codes"


def is_large(spec: CollectionSpec, snapshot: Snapshot, tuning: Tuning) -> bool:
    """True where a scan of every row at full length is no longer the quickest."""
    return spec.index == "codes" or snapshot.rows >= tuning.codes_rows

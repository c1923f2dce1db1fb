"""Chooses how a search goes."""

from dataclasses import dataclass
from typing import Final

from kokeshi.index.asked import SearchParams
from kokeshi.index.found import Route
from kokeshi.index.geometry import Geometry
from kokeshi.index.snapshot import Snapshot
from kokeshi.index.spec import CollectionSpec
from kokeshi.index.tuning import Tuning
from kokeshi.index.wishes import candidate_dimension, codes_width, is_large, scan_kind

# A graph walk that visits more than this share of the rows is slower than a scan.
WALK_SHARE: Final = 0.1
WALK_PER_K: Final = 2  # at least that many candidates are kept and handed on
WALK_PREFIX_PER_K: Final = 10
EXACT_MARGIN: Final = 16  # rows beyond k that an exact form is asked for: rounding may swap some


@dataclass(frozen=True)
class Plan:
    """How a search goes.

    Attributes:
        kind: see `Route`.
        k: neighbours per query.
        dimension: length that the scores are computed at.
        first: length that candidates are taken at.
        width: candidates per query.
        breadth: see `SearchParams`; 0: the form's own, or there is none.
        is_gathered: the rows that may be found are copied together first.
        is_exact: every row that may be found is compared at the final length.
    """

    kind: str
    k: int
    dimension: int
    first: int
    width: int
    breadth: int = 0
    is_gathered: bool = False
    is_exact: bool = False

    @property
    def is_full_scan(self) -> bool:
        """Every row is compared in float32 at the final length."""
        return self.kind == "flat" and self.is_exact

    @property
    def route(self) -> Route:
        """What is told of it."""
        return Route(self.kind, self.first, 0 if self.is_exact else self.width, self.breadth)


def plan(
    spec: CollectionSpec, snapshot: Snapshot, params: SearchParams, tuning: Tuning, allowed: int
) -> Plan:
    """Chooses how to search; `allowed` is the number of rows that may be found."""
    final = spec.dim if params.rerank else params.dimension or spec.dim
    if params.exact or _suits_gathering(snapshot, tuning, allowed):
        return _scan(params, final, is_gathered=_suits_gathering(snapshot, tuning, allowed))
    by_form = _by_form(snapshot, params, tuning, final, allowed)
    if by_form is not None:
        return by_form
    if shortlist_rows(params, tuning) >= allowed:
        return _scan(params, final)
    return _by_codes(spec, snapshot, params, tuning, final) or _by_prefix(
        spec, snapshot, params, tuning, final
    )


def kind_of(spec: CollectionSpec, snapshot: Snapshot, tuning: Tuning) -> str:
    """See `CollectionInfo.kind`: a form that is there may be too small, or have fallen behind."""
    return plan(spec, snapshot, SearchParams(), tuning, snapshot.count).kind


def shortlist_rows(params: SearchParams, tuning: Tuning) -> int:
    """Candidates that a first stage hands on."""
    return params.shortlist or max(tuning.shortlist_rows, tuning.shortlist_per_k * params.k)


def _scan(params: SearchParams, final: int, *, is_gathered: bool = False) -> Plan:
    return Plan("flat", params.k, final, final, params.k, is_gathered=is_gathered, is_exact=True)


def _suits_gathering(snapshot: Snapshot, tuning: Tuning, allowed: int) -> bool:
    """True where so few rows may be found that copying them together is the least work."""
    if allowed == snapshot.rows:
        return False
    return allowed <= max(tuning.gather_rows, tuning.gather_share * snapshot.rows)


def _by_form(
    snapshot: Snapshot, params: SearchParams, tuning: Tuning, final: int, allowed: int
) -> Plan | None:
    """A plan with the form, or None where it is of no use."""
    form = snapshot.form
    if form is None or form.first > final:
        return None
    if params.dimension not in {None, form.first, None if params.rerank else final}:
        return None
    if form.is_exact:
        width = params.k + EXACT_MARGIN
        return Plan(form.kind, params.k, final, form.first, width, is_exact=True)
    if form.kind != "hnsw":
        width = params.shortlist or max(tuning.lists_rows, tuning.lists_per_k * params.k)
        return Plan(form.kind, params.k, final, form.first, width, params.breadth or 0)
    width, breadth = _walk(params, tuning, is_prefix=form.first != final)
    most = int(WALK_SHARE * form.size)
    if breadth > most or allowed < tuning.walk_share * snapshot.rows:
        return None
    if params.breadth is None:
        # nodes that may not be found take places of a walk, too
        breadth = min(most, round(breadth * snapshot.rows / max(1, allowed)))
    return Plan(form.kind, params.k, final, form.first, width, breadth)


def _walk(params: SearchParams, tuning: Tuning, *, is_prefix: bool) -> tuple[int, int]:
    """Candidates that a walk hands on, and that it keeps.

    It hands on all where nobody asked for fewer: it saw them rounded, perhaps cut short.
    """
    if params.shortlist is not None:
        return params.shortlist, max(params.shortlist, params.breadth or tuning.ef_search)
    default = max(tuning.ef_search, WALK_PER_K * params.k)
    if is_prefix:
        default = max(tuning.ef_prefix, WALK_PREFIX_PER_K * params.k)
    breadth = max(params.breadth or default, WALK_PER_K * params.k)
    return breadth, breadth


def _by_codes(
    spec: CollectionSpec, snapshot: Snapshot, params: SearchParams, tuning: Tuning, final: int
) -> Plan | None:
    """A plan with a scan of int8 codes, or None where they are of no use."""
    width = codes_width(spec)
    is_wanted = params.rerank or scan_kind(spec, snapshot, tuning) == "codes"
    if width is None or not is_wanted:
        return None
    asked = params.dimension or width
    if asked > width and params.rerank:
        return None
    first = min(asked, width)
    return Plan("codes", params.k, final, first, shortlist_rows(params, tuning))


def _by_prefix(
    spec: CollectionSpec, snapshot: Snapshot, params: SearchParams, tuning: Tuning, final: int
) -> Plan:
    """A scan in float32: of prefixes for a shortlist where that is wanted, else of all."""
    first = params.dimension or candidate_dimension(Geometry.of(spec))
    # distances have no codes
    is_uncoded = spec.metric == "l2" and spec.index in {"auto", "codes"}
    is_wanted = params.rerank or (is_uncoded and is_large(spec, snapshot, tuning))
    if not is_wanted or first >= final:
        return _scan(params, final)
    return Plan("flat", params.k, final, first, shortlist_rows(params, tuning))

"""Ways to search: what can be asked for (`Setting`), and how it then goes (`Dial`)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from kokeshi.index.asked import SearchParams
from kokeshi.index.capabilities import Capabilities
from kokeshi.index.checks import MAX_SHORTLIST
from kokeshi.index.found import Found
from kokeshi.index.info import CollectionInfo
from kokeshi.index.items import NO_TENANT
from kokeshi.index.spec import CollectionSpec

# Shortlists that are tried, in multiples of k.
SHORTLISTS_PER_K: Final = (5, 20, 100, 400)
LEAST_SHORTLIST: Final = 20
MOST_SHORTLIST: Final = 0.1  # of the rows: ranking more takes longer than comparing all
# Prefixes that are tried for shortlists, as shares of the full length.
LEAST_SHARE, MOST_SHARE = 0.0625, 0.5
PREFIXES: Final = 3
WALK_BREADTHS: Final = (64, 128, 256, 512, 1024)  # of a graph
LIST_BREADTHS: Final = (1, 4, 16, 64, 256)  # of lists
# What one of these answers is exact without having been asked to be.
EXACT_KINDS: Final = frozenset({"flat", "panorama"})
_STEPS: Final = (1, 2, 5)


@dataclass(frozen=True)
class Dial:
    """How searches went that are counted together.

    Attributes:
        kind: see `Route`.
        dimension: length that the scores were computed at.
        first: see `Route`.
        shortlist: see `Route`.
        breadth: see `Route`.
        k: neighbours that were asked for, rounded up to 1, 2, 5, 10, 20, 50 ...
        is_narrowed: some items could not be found: by filter, tenant or threshold.
    """

    kind: str
    dimension: int
    first: int
    shortlist: int
    breadth: int
    k: int
    is_narrowed: bool

    @property
    def label(self) -> str:
        """Such as "codes 256>1024 shortlist 500 k 10", for people and for metrics."""
        parts = [f"{self.kind} {self.first}"]
        if self.first != self.dimension:
            parts[0] += f">{self.dimension}"
        if self.shortlist:
            parts.append(f"shortlist {self.shortlist}")
        if self.breadth:
            parts.append(f"breadth {self.breadth}")
        parts.append(f"k {self.k}")
        if self.is_narrowed:
            parts.append("narrowed")
        return " ".join(parts)


@dataclass(frozen=True)
class Want:
    """Searches that may stand for each other when a way to search is chosen.

    Attributes:
        k: see `Dial`.
        dimension: length that the neighbours are those of; None: the full one.
        is_narrowed: see `Dial`.
    """

    k: int
    dimension: int | None
    is_narrowed: bool


@dataclass(frozen=True)
class Setting:
    """Dials of `SearchParams`; see there.

    Attributes:
        first: prefix that a shortlist is taken by; None: there is no shortlist.
        shortlist: its rows; 0: the store's own number.
        breadth: see `SearchParams`; 0: the index's own.
        is_exact: every row is compared.
    """

    first: int | None = None
    shortlist: int = 0
    breadth: int = 0
    is_exact: bool = False

    def apply(self, params: SearchParams, want: Want) -> SearchParams:
        """The same search with these dials in place of its own."""
        return replace(
            params,
            dimension=want.dimension if self.first is None else self.first,
            rerank=self.first is not None,
            shortlist=self.shortlist or None,
            breadth=self.breadth or None,
            exact=self.is_exact,
        )


DEFAULT: Final = Setting()
EXACT: Final = Setting(is_exact=True)


def rounded(k: int) -> int:
    """The least of 1, 2, 5, 10, 20, 50 ... that is not below k."""
    power = 1
    while True:
        for step in _STEPS:
            if step * power >= k:
                return step * power
        power *= 10


def is_narrowed(params: SearchParams) -> bool:
    """See `Dial`."""
    return params.filter is not None or params.tenant != NO_TENANT or params.threshold is not None


def dial_of(found: Found, params: SearchParams) -> Dial:
    """How a search went."""
    route = found.route
    return Dial(
        route.kind,
        found.dimension,
        route.first,
        route.shortlist,
        route.breadth,
        rounded(params.k),
        is_narrowed(params),
    )


def want_of(spec: CollectionSpec, params: SearchParams) -> Want:
    """What a search is after."""
    is_full = params.rerank or params.dimension in (None, spec.dim)
    return Want(rounded(params.k), None if is_full else params.dimension, is_narrowed(params))


def setting_of(params: SearchParams) -> Setting | None:
    """The dials of a search; None where the store chooses the prefix of a shortlist."""
    if params.rerank and params.dimension is None:
        return None
    first = params.dimension if params.rerank else None
    return Setting(first, params.shortlist or 0, params.breadth or 0, params.exact)


def ladder(info: CollectionInfo, capabilities: Capabilities, want: Want) -> tuple[Setting, ...]:
    """Ways to search a collection that are worth trying, the store's own first, exact last."""
    tried = [DEFAULT, *_breadths(info.kind, want)]
    if want.dimension is None and info.kind not in {"hnsw", "ivf"}:
        tried += _funnels(info, want)
    if capabilities.exact:
        tried.append(EXACT)
    return tuple(tried)


def _breadths(kind: str, want: Want) -> Iterator[Setting]:
    if kind == "hnsw":
        yield from (Setting(breadth=one) for one in WALK_BREADTHS if one >= want.k)
    if kind == "ivf":
        yield from (Setting(breadth=one) for one in LIST_BREADTHS)


def _funnels(info: CollectionInfo, want: Want) -> Iterator[Setting]:
    dim = info.spec.dim
    prefixes = [one for one in info.spec.trained if LEAST_SHARE * dim <= one <= MOST_SHARE * dim]
    for first in prefixes[-PREFIXES:]:
        for times in SHORTLISTS_PER_K:
            rows = max(LEAST_SHORTLIST, times * want.k)
            if rows <= min(MOST_SHORTLIST * info.count, MAX_SHORTLIST):
                yield Setting(first, rows)

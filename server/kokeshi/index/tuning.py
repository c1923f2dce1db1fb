"""The thresholds of the embedded store, in one place."""

from dataclasses import dataclass, field, fields
from typing import Final

from kokeshi.index.gpu.limits import GpuLimits

GPU: Final = "gpu."  # what names of `GpuLimits` begin with
MAY_BE_ZERO: Final = frozenset({"gpu.rows", "gpu.graph_rows"})


@dataclass(frozen=True)
class Tuning:
    """Sizes at which the embedded store changes its ways.

    Attributes:
        segment_rows: rows that are sealed into one segment with files of its own.
        closing_rows: a store that closes writes this many newest rows to a file of their own; fewer
            are read from the database at the next start, about 20 us each.
        codes_rows: an "auto" collection compares every row in float32 below, scans int8 prefixes
            from here on. An exact scan of this many 512-float rows takes about 1.5 ms.
        hnsw_rows: an "auto" collection walks an HNSW graph from here on.
        tail_rows: rows scanned beside a graph or lists before those are extended ...
        tail_share: ... or this share of what they cover, whichever is more.
        dead_rows: deleted rows that are always put up with ...
        dead_share: ... or this share of all, whichever is more, before they are compacted away.
        hnsw_links: M of HNSW.
        ef_construction: candidates kept while a row is linked into the graph.
        ef_search: candidates kept while a graph is searched; never below twice k.
        ef_prefix: the same for a graph over a prefix, all of which are ranked again; never below
            ten times k. On the hard set, by a quarter of the numbers, 256 find 97.9 % of the ten
            nearest, 384 99.4 %.
        gather_share: where filter and tenant leave at most this share of the rows, exactly those
            are gathered and compared ...
        gather_rows: ... or at most so many, whichever is more.
        walk_share: where filter, tenant and deletes leave less than this share, a graph is not
            walked: too few of the nodes on the way could be answers.
        shortlist_rows: rows that a shortlist has at least. Of 200,000 hard vectors of 1,024 numbers
            (`benchmarks/index/hard_set.py`), int8 codes of an eighth of the numbers keep 99.7 % of
            the ten nearest in 200 rows, of a quarter 100 % in 50; a row more takes about 1 us ...
        shortlist_per_k: ... or this many times k, whichever is more.
        lists_rows: the same for scans of lists, whose codes of one bit a number are coarser ...
        lists_per_k: ... or this many times k, whichever is more.
        retry_s: seconds after which index files are tried again that the disk refused.
        min_seq_wait_s: seconds that a search waits for the write it must see.
        queue_jobs: writes that may wait; more are refused.
        group_rows: rows that may share one commit.
        heads_bytes: of what the database says of rows that searches found lately, kept in memory.
        requests_kept: writes of a collection whose request ids are remembered.
        gpu: what collections may take of GPUs.
    """

    segment_rows: int = 65_536
    closing_rows: int = 2000
    codes_rows: int = 20_000
    hnsw_rows: int = 500_000
    tail_rows: int = 4096
    tail_share: float = 0.1
    dead_rows: int = 1024
    dead_share: float = 0.2
    hnsw_links: int = 32
    ef_construction: int = 128
    ef_search: int = 128
    ef_prefix: int = 320
    gather_share: float = 0.05
    gather_rows: int = 2000
    walk_share: float = 0.3
    shortlist_rows: int = 200
    shortlist_per_k: int = 20
    lists_rows: int = 500
    lists_per_k: int = 50
    retry_s: float = 60.0
    min_seq_wait_s: float = 1.0
    queue_jobs: int = 1024
    group_rows: int = 10_000
    heads_bytes: int = 32 * 2**20
    requests_kept: int = 100_000
    gpu: GpuLimits = field(default_factory=GpuLimits)


def tuned(text: str) -> Tuning:
    """The defaults but for what is given as name=value, with commas between several.

    Raises:
        ValueError: a name is unknown, or a value is none that it can have.
    """
    values: dict[str, int | float] = {}
    for pair in text.split(",") if text else []:
        name, _, value = pair.strip().partition("=")
        values[name] = _number(name, value)
    own = {name: value for name, value in values.items() if not name.startswith(GPU)}
    gpu = {name.removeprefix(GPU): values[name] for name in values.keys() - own.keys()}
    return Tuning(**own, gpu=GpuLimits(**gpu))  # type: ignore[arg-type]  # `_number` has their types


def _number(name: str, value: str) -> int | float:
    kinds = {
        one.name: type(getattr(Tuning, one.name)) for one in fields(Tuning) if one.name != "gpu"
    }
    kinds |= {GPU + one.name: type(getattr(GpuLimits, one.name)) for one in fields(GpuLimits)}
    if name not in kinds:
        raise ValueError(f"no threshold {name!r}, expected one of {', '.join(kinds)}")
    kind = kinds[name]
    least = 1 if kind is int and name not in MAY_BE_ZERO else 0
    try:
        number: int | float = kind(value)
    except ValueError:
        number = -1
    if not least <= number < float("inf"):
        raise ValueError(f"{name} must be {_words(kind)} of at least {least}, got {value!r}")
    return number


def _words(kind: type) -> str:
    return "a whole number" if kind is int else "a number"

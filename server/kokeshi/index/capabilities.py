"""What a store can do, and what the embedded one can."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Capabilities:
    """What a store can do beyond keeping, finding and deleting by id.

    Attributes:
        metrics: of collections it takes.
        kinds: of indexes it can be told to build.
        filters: operators that it evaluates itself ("eq", "in", "range", "exists", "prefix", "geo",
            "and", "or", "not").
        durable: an acknowledgement means that the write is on a disk.
        read_your_writes: `SearchParams.min_seq` is obeyed.
        request_ids: a write that comes twice under one request id is stored once.
        exact: every row can be compared.
        snapshots: `backup` is there.
        atomic: a batch appears whole or not at all, whatever fails meanwhile.
        tenants: it can tell whose items it has.
        prefixes: a shortlist is taken at whatever trained length a search names.
        counts_writes: sequence numbers count writes; else they are times, in microseconds.
    """

    metrics: frozenset[str]
    kinds: frozenset[str]
    filters: frozenset[str]
    durable: bool
    read_your_writes: bool
    request_ids: bool
    exact: bool
    snapshots: bool
    atomic: bool = True
    tenants: bool = True
    prefixes: bool = True
    counts_writes: bool = True


CAPABILITIES: Final = Capabilities(
    metrics=frozenset({"cosine", "ip", "l2", "hyperbolic"}),
    kinds=frozenset({"auto", "flat", "codes", "hnsw", "ivf", "panorama", "gpu"}),
    filters=frozenset({"eq", "in", "range", "exists", "prefix", "geo", "and", "or", "not"}),
    durable=True,
    read_your_writes=True,
    request_ids=True,
    exact=True,
    snapshots=True,
)

"""What the embedded store can do."""

from typing import Final

from kokeshi.index.store import Capabilities

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

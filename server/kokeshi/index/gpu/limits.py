"""What collections may take of GPUs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GpuLimits:
    """Bounds of the GPU form.

    Attributes:
        rows: an "auto" collection is held by GPUs from here on, where there are any; 0: never but
            where it is pinned.
        graph_rows: so many rows or more that are sent together become a graph, where FAISS has cuVS
            and the GPU was seen to walk one; 0: never. Graphs were not measured yet.
        memory_bytes: of each GPU, for rows of all collections together. FAISS does not tell what is
            free, and models may share the GPU; so nobody takes more than was set.
        scratch_bytes: of each GPU, that searches compute in.
        shard_bytes: of rows that are sent to a GPU together; the host holds twice as much then.
        queue_jobs: searches that may wait for a GPU; more are refused.
        queries_per_call: queries of searches that come together and go as one call.
        timeout_s: a search waits so long for a GPU; one that has computed at one call for half of
            that is given up.
        hold_timeout_s: the same where rows are sent, the first of which wait for CUDA to start, and
            where a graph is built.
        room_wait_s: a build waits so long for memory that an older form still holds.
        probe_timeout_s: a GPU that does not answer for so long at the start is not used.
    """

    rows: int = 200_000
    graph_rows: int = 0
    memory_bytes: int = 8 * 2**30
    scratch_bytes: int = 512 * 2**20
    shard_bytes: int = 512 * 2**20
    queue_jobs: int = 1024
    queries_per_call: int = 1024
    timeout_s: float = 10.0
    hold_timeout_s: float = 300.0
    room_wait_s: float = 2.0
    probe_timeout_s: float = 60.0

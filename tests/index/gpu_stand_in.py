"""FAISS's GPU classes as they behave, without a GPU.

Without cuVS they take a selector and do not look at it, and answer at most 2048 neighbours. With it
they hold to a selector where the index was told to be of cuVS, put what is forbidden behind the
rest, and build graphs that miss some rows. They compute in float16, must be called by one thread
only, and raise RuntimeError where memory does not do.
"""

import contextlib
import threading
from collections import defaultdict

import faiss
import numpy as np

from kokeshi.index.gpu.device import Gpu
from kokeshi.index.gpu.gpus import Gpus

NO_MEMORY = (
    "Error in virtual void* faiss::gpu::StandardGpuResourcesImpl::allocMemory: "
    "'err == cudaSuccess' failed: StandardGpuResources: alloc fail (cudaMalloc error out of memory)"
)
MISSED = 0.03  # of the rows, by a walk


class Machine:
    """GPUs that hold so many bytes each; tests break them through the attributes.

    Attributes:
        has_cuvs: FAISS was built with it.
        is_deaf: it looks at no selector all the same.
        broken: what every search raises; "": nothing.
        no_graphs: what the build of a graph raises; "": nothing.
        are_graphs_empty: a walk finds nothing, as where memory does not do for rows and links.
        batch_limit: queries of one search that memory does for.
        hanging: searches do not come back until it is set; None: they do.
        building: graphs are not built until it is set; None: they are.
        searches: (GPU, queries, k) of each.
        walks: what was kept in each walk.
        selections: rows that each selector allowed.
        graphs: rows of each that was built.
        violations: calls that would have crashed FAISS.
    """

    def __init__(self, count, memory_bytes=2**30, has_cuvs=False):
        self.count = count
        self.memory_bytes = memory_bytes
        self.has_cuvs = has_cuvs
        self.is_deaf = not has_cuvs
        self.used_bytes = defaultdict(int)
        self.broken = self.no_graphs = ""
        self.are_graphs_empty = False
        self.batch_limit = 2**20
        self.hanging = self.building = None
        self.searches, self.walks, self.selections, self.graphs = [], [], [], []
        self.violations = []
        self.threads = {}

    def check_thread(self, device):
        """One thread for each GPU, from the first call to the last."""
        here = threading.get_ident()
        if self.threads.setdefault(device, here) != here:
            self.violations.append(f"GPU {device} was called by another thread")

    def take(self, device, size_bytes):
        if self.used_bytes[device] + size_bytes > self.memory_bytes:
            raise RuntimeError(NO_MEMORY)
        self.used_bytes[device] += size_bytes


class GpuIndexFlatConfig:
    """Has FAISS's names and no others."""

    __slots__ = ("device", "memorySpace", "storeTransposed", "useFloat16", "use_cuvs")

    def __init__(self):
        self.device, self.memorySpace = 0, 1
        self.storeTransposed = self.useFloat16 = self.use_cuvs = False


class GpuIndexCagraConfig:
    __slots__ = (
        "build_algo", "device", "graph_degree", "guarantee_connectivity",
        "intermediate_graph_degree", "ivf_pq_params", "ivf_pq_search_params", "memorySpace",
        "nn_descent_niter", "refine_rate", "store_dataset", "use_cuvs",
    )  # fmt: skip

    def __init__(self):
        self.device, self.memorySpace, self.use_cuvs = 0, 1, False
        self.intermediate_graph_degree, self.graph_degree = 128, 64


class SearchParametersCagra:
    """Has FAISS's names and no others; they are given by keywords."""

    NAMES = frozenset({
        "algo", "hashmap_max_fill_rate", "hashmap_min_bitlen", "hashmap_mode", "itopk_size",
        "max_iterations", "max_queries", "min_iterations", "num_random_samplings", "search_width",
        "seed", "sel", "team_size", "thread_block_size",
    })  # fmt: skip

    def __init__(self, **given):
        assert given.keys() <= self.NAMES
        self.itopk_size, self.algo, self.sel = 64, 100, None
        vars(self).update(given)


class GpuIndex:
    """Rows in float16 or float32 on the machine of a test."""

    machine: Machine
    row_extra_bytes = 0

    def __init__(self, resources, dims, metric, config):
        assert resources.scratch_bytes > 0
        self.config, self.device, self.metric, self.ntotal = config, config.device, metric, 0
        self.rows = np.empty((0, dims), np.float32)
        self.size_bytes = 0
        self.machine.check_thread(self.device)

    def _hold(self, rows, kind):
        self.machine.check_thread(self.device)
        assert rows.dtype == np.float32
        assert rows.flags.c_contiguous
        assert np.abs(rows).max(initial=0) <= np.finfo(kind).max
        added = rows.astype(kind)
        size_bytes = added.nbytes + len(rows) * self.row_extra_bytes
        self.machine.take(self.device, size_bytes)
        self.size_bytes += size_bytes
        self.rows = np.concatenate([self.rows.astype(kind), added])
        self.ntotal = len(self.rows)

    def _begin(self, queries, k):
        self.machine.check_thread(self.device)
        self.machine.searches.append((self.device, len(queries), k))
        if self.machine.hanging is not None:
            self.machine.hanging.wait(30)
        if self.machine.broken:
            raise RuntimeError(self.machine.broken)
        if len(queries) > self.machine.batch_limit:
            raise RuntimeError(NO_MEMORY)

    def _allowed(self, params):
        """(ntotal,) bool; None: no selector, or none that is looked at."""
        if params is None or params.sel is None or self.machine.is_deaf:
            return None
        allowed = np.array([params.sel.is_member(i) for i in range(self.ntotal)], np.bool_)
        self.machine.selections.append(int(allowed.sum()))
        return allowed

    def _nearest(self, queries, k, allowed):
        rows, queries = self.rows.astype(np.float32), queries.astype(np.float16).astype(np.float32)
        scores = queries @ rows.T
        if self.metric == faiss.METRIC_L2:
            norms = np.square(queries).sum(1)[:, None] + np.square(rows).sum(1)
            scores = 2 * scores - norms
        if allowed is not None:
            scores[:, ~allowed] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        labels = np.full((len(queries), k), -1, np.int64)
        labels[:, : order.shape[1]] = order
        found = np.full((len(queries), k), -np.inf, np.float32)
        found[:, : order.shape[1]] = np.take_along_axis(scores, order, 1)
        return (-found if self.metric == faiss.METRIC_L2 else found), labels

    def __del__(self):
        if hasattr(self, "size_bytes"):
            self.machine.check_thread(self.device)
            self.machine.used_bytes[self.device] -= self.size_bytes


class GpuIndexFlat(GpuIndex):
    """Stands for `faiss.GpuIndexFlat`; what is forbidden comes last, with its label."""

    def __init__(self, resources, dims, metric, config):
        if config.use_cuvs and not self.machine.has_cuvs:
            raise RuntimeError("cuVS has not been compiled into the current version")
        super().__init__(resources, dims, metric, config)

    def add(self, x, numeric_type=faiss.Float32):
        assert numeric_type == faiss.Float32
        self._hold(x, np.float16 if self.config.useFloat16 else np.float32)

    def search(self, x, k, *, params=None, numeric_type=faiss.Float32):
        assert numeric_type == faiss.Float32
        self._begin(x, k)
        most = 16384 if self.config.use_cuvs else 2048
        if not 0 < k <= most:
            raise RuntimeError(f"GPU index only supports k <= {most} (requested {k})")
        return self._nearest(x, k, self._allowed(params) if self.config.use_cuvs else None)


class GpuIndexCagra(GpuIndex):
    """Stands for `faiss.GpuIndexCagra`: some rows are never found, and some are twice.

    Where too few were found the labels are -1, or the one that cuVS has for it.
    """

    row_extra_bytes = 4 * 64
    TWICE_FROM = 20  # neighbours

    def add(self, x, numeric_type=faiss.Float32):
        if self.metric == faiss.METRIC_INNER_PRODUCT and numeric_type == faiss.Float16:
            self.machine.violations.append("the search of such a graph deadlocked")
        if self.machine.building is not None:
            self.machine.building.wait(30)
        if self.machine.no_graphs:
            raise RuntimeError(self.machine.no_graphs)
        self.numeric_type = numeric_type
        self._hold(x, np.float16 if numeric_type == faiss.Float16 else np.float32)
        self.is_missed = np.random.default_rng(len(x)).random(len(x)) < MISSED
        self.machine.graphs.append(len(x))

    def search(self, x, k, *, params=None, numeric_type=faiss.Float32):
        self._begin(x, k)
        kept = params.itopk_size
        self.machine.walks.append(kept)
        if numeric_type != self.numeric_type:
            raise RuntimeError("Inconsistent numeric type for train and search")
        if not 0 < k <= 1024 or kept < k:
            raise RuntimeError("topk must be lower than or equal to 1024")
        if self.machine.are_graphs_empty:
            return np.full((len(x), k), np.inf, np.float32), np.full((len(x), k), -1, np.int64)
        allowed = self._allowed(params)
        seen = ~self.is_missed if allowed is None else allowed & ~self.is_missed
        scores, labels = self._nearest(x, k, seen)
        none = np.where(np.arange(k) % 2, -1, 2**32 - 1)
        labels = np.where(np.isinf(scores), none, labels)
        if k > self.TWICE_FROM:
            scores[:, -1], labels[:, -1] = scores[:, 0], labels[:, 0]
        return scores, labels


class Resources:
    """Stands for `faiss.StandardGpuResources`."""

    scratch_bytes = 0

    def setTempMemory(self, size_bytes):
        self.scratch_bytes = size_bytes


def classes(machine):
    """What FAISS has on such a machine, by its names."""
    found = {
        "StandardGpuResources": Resources,
        "GpuIndexFlatConfig": GpuIndexFlatConfig,
        "GpuIndexFlat": type("GpuIndexFlat", (GpuIndexFlat,), {"machine": machine}),
        "get_num_gpus": lambda: machine.count,
    }
    if machine.has_cuvs:
        found |= {
            "GpuIndexCagraConfig": GpuIndexCagraConfig,
            "GpuIndexCagra": type("GpuIndexCagra", (GpuIndexCagra,), {"machine": machine}),
            "SearchParametersCagra": SearchParametersCagra,
            "search_algo_AUTO": 100,
            "search_algo_MULTI_CTA": 1,
        }
    return found


@contextlib.contextmanager
def machine_with(monkeypatch, count, memory_bytes=2**30, has_cuvs=False):
    """A process on a machine with so many GPUs, and FAISS built with cuVS or not."""
    machine = Machine(count, memory_bytes, has_cuvs)
    for name, stands in classes(machine).items():
        monkeypatch.setattr(faiss, name, stands, raising=False)
    gpus = Gpus(probe=lambda timeout_s: [Gpu(i, has_cuvs, has_cuvs) for i in range(machine.count)])
    monkeypatch.setattr("kokeshi.index.gpu.gpus.GPUS", gpus)
    machine.gpus = gpus
    try:
        yield machine
    finally:
        for event in (machine.hanging, machine.building):
            if event is not None:
                event.set()
        gpus.close()
        assert machine.violations == []

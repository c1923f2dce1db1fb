"""FAISS's GPU classes as they behave, without a GPU.

They take a selector and do not look at it, answer at most 2048 neighbours, compute in float16, must
be called by one thread only, and raise RuntimeError where memory does not do.
"""

import contextlib
import threading
import time
from collections import defaultdict
from types import SimpleNamespace

import faiss
import numpy as np

from kokeshi.index.gpu.gpus import Gpus

NO_MEMORY = (
    "Error in virtual void* faiss::gpu::StandardGpuResourcesImpl::allocMemory: "
    "'err == cudaSuccess' failed: StandardGpuResources: alloc fail (cudaMalloc error out of memory)"
)


def wait_for(condition, timeout_s=30.0):
    """What another thread is about to do."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


class Machine:
    """GPUs that hold so many bytes each; tests break them through the attributes.

    Attributes:
        broken: what every search raises; "": nothing.
        batch_limit: queries of one search that memory does for.
        hanging: searches do not come back until it is set; None: they do.
        searches: (GPU, queries, k) of each.
        violations: calls that would have crashed FAISS.
    """

    def __init__(self, count, memory_bytes=2**30):
        self.count = count
        self.memory_bytes = memory_bytes
        self.used_bytes = defaultdict(int)
        self.broken = ""
        self.batch_limit = 2**20
        self.hanging = None
        self.searches = []
        self.violations = []
        self.threads = {}

    def check_thread(self, device):
        """One thread for each GPU, from the first call to the last."""
        here = threading.get_ident()
        if self.threads.setdefault(device, here) != here:
            self.violations.append(f"GPU {device} was called by another thread")


class GpuIndexFlat:
    """Stands for `faiss.GpuIndexFlat`, on the machine of a test."""

    machine: Machine

    def __init__(self, resources, dims, metric, config):
        assert resources.scratch_bytes > 0
        self.device, self.metric, self.ntotal = config.device, metric, 0
        self.rows = np.empty((0, dims), np.float16 if config.useFloat16 else np.float32)
        self.machine.check_thread(self.device)

    def add(self, rows):
        self.machine.check_thread(self.device)
        assert rows.dtype == np.float32
        assert rows.flags.c_contiguous
        size = rows.size * self.rows.itemsize
        if self.machine.used_bytes[self.device] + size > self.machine.memory_bytes:
            raise RuntimeError(NO_MEMORY)
        self.machine.used_bytes[self.device] += size
        self.rows = np.concatenate([self.rows, rows.astype(self.rows.dtype)])
        self.ntotal = len(self.rows)

    def search(self, queries, k, params=None):
        self.machine.check_thread(self.device)
        self.machine.searches.append((self.device, len(queries), k))
        if self.machine.hanging is not None:
            self.machine.hanging.wait(30)
        if self.machine.broken:
            raise RuntimeError(self.machine.broken)
        if len(queries) > self.machine.batch_limit:
            raise RuntimeError(NO_MEMORY)
        if not 0 < k <= 2048:
            raise RuntimeError(f"GPU index only supports k <= 2048 (requested {k})")
        return self._nearest(queries.astype(np.float16).astype(np.float32), k)

    def _nearest(self, queries, k):
        rows = self.rows.astype(np.float32)
        scores = queries @ rows.T
        if self.metric == faiss.METRIC_L2:
            norms = np.square(queries).sum(1)[:, None] + np.square(rows).sum(1)
            scores = 2 * scores - norms
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        labels = np.full((len(queries), k), -1, np.int64)
        labels[:, : order.shape[1]] = order
        found = np.full((len(queries), k), -np.inf, np.float32)
        found[:, : order.shape[1]] = np.take_along_axis(scores, order, 1)
        return (-found if self.metric == faiss.METRIC_L2 else found), labels

    def __del__(self):
        if hasattr(self, "rows"):
            self.machine.check_thread(self.device)
            self.machine.used_bytes[self.device] -= self.rows.nbytes


class Resources:
    """Stands for `faiss.StandardGpuResources`."""

    scratch_bytes = 0

    def setTempMemory(self, size_bytes):
        self.scratch_bytes = size_bytes


@contextlib.contextmanager
def machine_with(monkeypatch, count, memory_bytes=2**30):
    """A process on a machine with so many GPUs."""
    machine = Machine(count, memory_bytes)
    monkeypatch.setattr(faiss, "StandardGpuResources", Resources, raising=False)
    monkeypatch.setattr(faiss, "GpuIndexFlatConfig", SimpleNamespace, raising=False)
    monkeypatch.setattr(
        faiss,
        "GpuIndexFlat",
        type("GpuIndexFlat", (GpuIndexFlat,), {"machine": machine}),
        raising=False,
    )
    gpus = Gpus(probe=lambda timeout_s: range(machine.count))
    monkeypatch.setattr("kokeshi.index.gpu.gpus.GPUS", gpus)
    machine.gpus = gpus
    try:
        yield machine
    finally:
        if machine.hanging is not None:
            machine.hanging.set()
        gpus.close()
        assert machine.violations == []

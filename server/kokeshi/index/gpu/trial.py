"""What cuVS can do on each GPU, found out by a process that may end: see `probe`.

That FAISS was built with it says little: a FAISS without it takes a selector and does not look at
it. So the rows that are nearest to each query are forbidden, and the answers are looked at.
"""

import sys
from collections.abc import Iterator
from typing import Final

import numpy as np

from kokeshi.index.gpu.device import Device, Gpu
from kokeshi.index.items import Vector
from kokeshi.index.kernels import Mask
from kokeshi.index.kernels.engine import bits, load_faiss

ROWS: Final = 2048
LENGTH: Final = 32
QUERIES: Final = 64
NEIGHBOURS: Final = 10
BREADTH: Final = 256
SHARES: Final = (0.5, 0.05)  # of the rows that are allowed: cuVS compares fewer in another way
LEAST_FOUND: Final = {False: 0.95, True: 0.8}  # of the nearest: of all rows compared, of a graph
SCRATCH_BYTES: Final = 64 * 2**20

_GRAPH: Final = 2  # the number of its shard, after both metrics


def tell() -> None:
    """Prints what each GPU can do, as soon as it is known."""
    for number in range(load_faiss().get_num_gpus()):
        for what in abilities(number):
            sys.stdout.write(f"{what} {number}\n")
            sys.stdout.flush()


def abilities(number: int) -> Iterator[str]:
    """Names of what the GPU does: selects, and walks; see `Gpu`."""
    device = Device(Gpu(number, selects=True, walks=True), SCRATCH_BYTES)
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((ROWS, LENGTH), dtype=np.float32)
    masks = [rng.random(ROWS) < share for share in SHARES]
    for is_l2 in (False, True):
        device.add(int(is_l2), rows, is_l2=is_l2)
        if not all(_obeys(device, rows, mask, is_l2=is_l2) for mask in masks):
            return
    yield "selects"
    if device.add(_GRAPH, rows, is_l2=True, is_graph=True) and all(
        _obeys(device, rows, mask, is_l2=True, is_graph=True) for mask in masks
    ):
        yield "walks"


def _obeys(
    device: Device, rows: Vector, mask: Mask, *, is_l2: bool, is_graph: bool = False
) -> bool:
    """Tells whether nothing forbidden is found, and most of what is nearest among the others."""
    shard = _GRAPH if is_graph else int(is_l2)
    queries = rows[~mask][:QUERIES]
    _, labels = device.search(shard, queries, NEIGHBOURS, bits(mask), BREADTH)
    is_row = (labels >= 0) & (labels < ROWS)
    if not mask[labels[is_row]].all():
        return False
    scores = queries @ rows.T * np.float32(2 if is_l2 else 1)
    scores -= np.square(rows).sum(axis=1) if is_l2 else np.float32(0)
    scores[:, ~mask] = -np.inf
    nearest = np.argsort(-scores, axis=1)[:, :NEIGHBOURS]
    found = sum(len(np.intersect1d(one, other)) for one, other in zip(labels, nearest, strict=True))
    return bool(found >= LEAST_FOUND[is_graph] * nearest.size)

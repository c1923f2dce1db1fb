"""Scans of vectors and of their int8 codes at the speed of memory."""

from kokeshi.index.kernels.codes import Codes, are_coded, encode
from kokeshi.index.kernels.parts import Mask, Part, Positions, gather, offsets, rows_at
from kokeshi.index.kernels.pool import POOL, Pool, usable_cores
from kokeshi.index.kernels.scan import Shortlist, nearest, nearest_codes, shortlists
from kokeshi.index.kernels.settle import is_proven, settle

__all__ = [
    "POOL",
    "Codes",
    "Mask",
    "Part",
    "Pool",
    "Positions",
    "Shortlist",
    "are_coded",
    "encode",
    "gather",
    "is_proven",
    "nearest",
    "nearest_codes",
    "offsets",
    "rows_at",
    "settle",
    "shortlists",
    "usable_cores",
]

"""Binary masks as run lengths (COCO) and as polygons."""

from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from kokeshi.service.types import Polygon, RunLengths


def run_lengths(mask: NDArray[np.bool_]) -> RunLengths:
    """COCO's uncompressed run lengths of a mask (height, width).

    Column-major, beginning with a run of zeros, which may be empty
    (cocodataset/cocoapi, PythonAPI/pycocotools/mask.py).
    """
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    ends = np.concatenate([[0], changes, [flat.size]])
    counts = np.diff(ends).tolist()
    if flat[0]:
        counts.insert(0, 0)
    height, width = mask.shape
    return RunLengths(height, width, counts)


def polygons(mask: NDArray[np.bool_]) -> tuple[Polygon, ...]:
    """Outlines of a mask (height, width) halfway between pixel centres; outer rings, then holes."""
    import contourpy

    padded = np.pad(mask, 1).astype(np.float32)
    generator = contourpy.contour_generator(z=padded, fill_type=contourpy.FillType.OuterOffset)
    # the fill type chosen above gives two lists: points, and where each ring begins in them
    rings, offsets = cast("tuple[list[Any], list[Any]]", generator.filled(0.5, 2.0))
    found = []
    for points, ends in zip(rings, offsets, strict=True):
        for position, (start, end) in enumerate(pairwise(ends)):
            ring = (points[start:end] - 1).astype(np.float32)
            found.append(Polygon(ring, hole=position > 0))
    return tuple(found)

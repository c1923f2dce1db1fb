"""Reading and writing of what is large, kept from holding up everybody else.

On the event loop 50 MB of JSON, or the JSON of 100,000 hits, would stop all other requests for
more than half a second.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from kokeshi.service.types import Found, Segmented

T = TypeVar("T")

LARGE_BYTES: Final = 2**20  # reading or writing these takes some 10 ms
HIT_BYTES: Final = 256  # of a hit as JSON, with a little metadata
COUNT_BYTES: Final = 4  # of a run length or coordinate


async def aside(size_bytes: int, work: Callable[[], T]) -> T:
    """Does work of a size on a thread where it is large, else at once: a thread costs 0.1 ms."""
    return work() if size_bytes < LARGE_BYTES else await asyncio.to_thread(work)


def found_bytes(answer: Found) -> int:
    """About how long the answer of a search will be."""
    grouped = [group.hits for groups in answer.groups for group in groups]
    results = [*answer.results, *grouped]
    count = sum(map(len, results))
    first = next((hit.vector for hits in results for hit in hits), None)
    return count * (HIT_BYTES + (0 if first is None else first.nbytes))


def segmented_bytes(answer: Segmented) -> int:
    """About how long masks will be; PNGs are written already."""
    regions = [region for result in answer.results for region in result.regions]
    runs = sum(len(region.rle.counts) for region in regions if region.rle)
    points = sum(each.points.size for region in regions for each in region.polygons or ())
    return COUNT_BYTES * (runs + points)

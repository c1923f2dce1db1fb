"""What is told of collections that another server keeps; sizes are that server's own affair."""

import logging
from collections.abc import Callable, Iterable, Sequence

from kokeshi.errors import CollectionNotFoundError, UnavailableError
from kokeshi.index.info import CollectionInfo, StoreStats
from kokeshi.index.spec import CollectionSpec

logger = logging.getLogger(__name__)


class GoneError(UnavailableError):
    """The server could not be reached; the call may be made again."""


def info_of(spec: CollectionSpec, kind: str, count: int, seq: int) -> CollectionInfo:
    """A collection whose every write is in its index."""
    return CollectionInfo(
        spec=spec,
        count=count,
        seq=seq,
        kind=kind,
        covered_seq=seq,
        tail=0,
        dead=0,
        memory_bytes=0,
        cached_seq=None,
        quarantine=None,
        tenants=min(1, count),
    )


def listed(names: Iterable[str], describe: Callable[[str], CollectionInfo]) -> list[CollectionInfo]:
    """Collections by name; what kokeshi cannot read is left out, and logged.

    Raises:
        GoneError: the server is.
    """
    infos = []
    for name in names:
        try:
            infos.append(describe(name))
        except CollectionNotFoundError:  # dropped since
            continue
        except GoneError:
            raise
        except UnavailableError as error:
            logger.warning("collection %r is left out: %s", name, error)
    return infos


def stats_of(infos: Sequence[CollectionInfo], writes: int) -> StoreStats:
    """Counters of this gateway; of its writes each is a commit."""
    return StoreStats(
        collections=len(infos),
        items=sum(info.count for info in infos),
        writes=writes,
        commits=writes,
        index_builds=0,
        cache_rejections=0,
        database_bytes=0,
        wal_bytes=0,
        is_writable=True,
    )

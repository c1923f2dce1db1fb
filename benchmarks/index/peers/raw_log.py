"""What a disk can do: vectors appended to a file, each batch synced."""

import os
import time
from pathlib import Path

from peers.peer import Ingesting, Settings, Vectors


class Contestant(Ingesting):
    """See `Peer`; it only ingests."""

    def ingest(self, rows: Vectors, folder: Path, settings: Settings, size: int) -> list[float]:
        seconds = []
        with (folder / "log").open("wb") as log:
            for first in range(0, len(rows), size):
                start = time.perf_counter()
                log.write(rows[first : first + size].tobytes())
                log.flush()
                os.fdatasync(log.fileno())
                seconds.append(time.perf_counter() - start)
        return seconds

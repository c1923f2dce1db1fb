"""How far the building of an engine is: TensorRT does not say, so the time it takes is the measure.

What the last build of the same graph took is written down beside the engines; before the first, a
guess by the size of the graph.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from kokeshi.engines.runtimes.protocol import Progress

TICK_S: Final = 0.5
_SECONDS_FILE: Final = "seconds"  # per graph: <cache folder>/<digest>.seconds
_FIRST_GUESS_S: Final = 30.0
_GUESS_S_PER_BYTE: Final = 1e-6  # a minute and a half for a ResNet-50
_ALMOST: Final = 0.99


@contextmanager
def watched(progress: Progress | None, expected_s: float, tick_s: float = TICK_S) -> Iterator[None]:
    """Reports, while the block runs, the share of the time that it is expected to take.

    Beyond half of the expected time it slows down, and it reaches 1 only when the block has ended.
    """
    if progress is None:
        yield
        return
    begun_s, ended = time.monotonic(), threading.Event()

    def report() -> None:
        while not ended.wait(tick_s):
            progress(fraction(time.monotonic() - begun_s, expected_s))

    thread = threading.Thread(target=report, name="engine-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    progress(1.0)


def fraction(spent_s: float, expected_s: float) -> float:
    """Share done: even up to half of the expected time, then ever closer to `_ALMOST`."""
    share = spent_s / expected_s
    half = 0.5
    return share if share <= half else min(_ALMOST, 1 - half * half / share)


def expected_s(graph: Path, digest: str, cache_folder: Path | None) -> float:
    """How long the last build of a graph took, or a guess."""
    if cache_folder is not None:
        with suppress(OSError, ValueError):
            return max(TICK_S, float(_file(cache_folder, digest).read_text("utf-8")))
    return _FIRST_GUESS_S + graph.stat().st_size * _GUESS_S_PER_BYTE


def remember(spent_s: float, digest: str, cache_folder: Path) -> None:
    """Writes down how long a build took."""
    cache_folder.mkdir(parents=True, exist_ok=True)
    _file(cache_folder, digest).write_text(f"{spent_s:.1f}\n", "utf-8")


def _file(cache_folder: Path, digest: str) -> Path:
    return cache_folder / f"{digest}.{_SECONDS_FILE}"

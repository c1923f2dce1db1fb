"""Triton's log, written into ours line by line."""

import logging
import re
from typing import Final

logger = logging.getLogger("kokeshi.triton")

# "I1121 14:56:05.199133 27032 grpc_server.cc:2558] "Started ...""
_LINE: Final = re.compile(r'([IWEF])\d{4} [\d:.]+ \d+ ([\w.]+:\d+)\] "?(.*?)"?')
_LEVELS: Final = {
    "I": logging.INFO,
    "W": logging.WARNING,
    "E": logging.ERROR,
    "F": logging.CRITICAL,
}
# Every start without a GPU says these at a level that alarms; --engine triton on a CPU is no fault.
_NO_GPU: Final = ("pinned system memory", "CudaDriverHelper has not been initialized")
_TRACE: Final = r"\n\nAt:\n"  # of a model's Python, with the paths of this machine


def relog(line: str) -> None:
    """Writes one line with the level that Triton gave it; the rest of its tables is DEBUG."""
    found = _LINE.fullmatch(line)
    if found is None:
        logger.debug("%s", line)
        return
    letter, source, message = found.groups()
    message = message.partition(_TRACE)[0]
    level = logging.DEBUG if any(one in message for one in _NO_GPU) else _LEVELS[letter]
    logger.log(level, "%s", message, extra={"fields": {"source": source}})

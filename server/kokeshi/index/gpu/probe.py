"""Which GPUs FAISS can use, found out by another process.

FAISS ends the process that asks where the driver is broken or a GPU is dead: most of its CUDA calls
are followed by an assertion, not by an exception. So a process that may end asks first, and
searches a few rows on each GPU.
"""

import logging
import subprocess
import sys
from typing import Final

from kokeshi.index.kernels.engine import load_faiss

logger = logging.getLogger(__name__)

QUESTION: Final = """
import faiss, numpy
rows = numpy.eye(32, dtype=numpy.float32)
for number in range(faiss.get_num_gpus()):
    config = faiss.GpuIndexFlatConfig()
    config.device, config.useFloat16 = number, True
    resources = faiss.StandardGpuResources()
    resources.setTempMemory(2**20)
    index = faiss.GpuIndexFlat(resources, 32, faiss.METRIC_INNER_PRODUCT, config)
    index.add(rows)
    if index.search(rows, 1)[1][:, 0].tolist() == list(range(32)):
        print("gpu", number, flush=True)
"""


def usable_gpus(timeout_s: float) -> list[int]:
    """Numbers of the GPUs that found their neighbours; none where FAISS was built without GPUs."""
    if not hasattr(load_faiss(), "StandardGpuResources"):
        return []
    command = [sys.executable, "-c", QUESTION]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.error("collections use no GPU: none answered, %s", error)
        return []
    numbers = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("gpu ")]
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        logger.error("collections use the GPUs %s only: FAISS failed, %s", numbers, last)
    return numbers

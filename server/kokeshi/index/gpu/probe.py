"""Which GPUs FAISS can use, found out by other processes.

FAISS ends the process that asks where the driver is broken or a GPU is dead: most of its CUDA calls
are followed by an assertion, not by an exception. So a process that may end asks first, and
searches a few rows on each GPU. Where FAISS was built with cuVS another one tries that: if it ends,
or does not, the GPUs are used without.
"""

import logging
import subprocess
import sys
from typing import Final

from kokeshi.index.gpu.device import Gpu
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

CUVS_QUESTION: Final = "from kokeshi.index.gpu.trial import tell; tell()"


def usable_gpus(timeout_s: float) -> list[Gpu]:
    """GPUs that found their neighbours; none where FAISS was built without GPUs.

    Args:
        timeout_s: of each of the two processes.
    """
    faiss = load_faiss()
    if not hasattr(faiss, "StandardGpuResources"):
        return []
    numbers = _numbers("gpu", _answered(QUESTION, timeout_s, "collections use no other GPU"))
    if not numbers or not hasattr(faiss, "GpuIndexCagra"):
        return [Gpu(number) for number in numbers]
    lines = _answered(CUVS_QUESTION, timeout_s, "collections do without cuVS on other GPUs")
    selects, walks = _numbers("selects", lines), _numbers("walks", lines)
    return [Gpu(number, number in selects, number in walks) for number in numbers]


def _numbers(what: str, lines: list[str]) -> list[int]:
    """Numbers of the GPUs that something was said of."""
    pairs = (line.split() for line in lines)
    return [int(pair[1]) for pair in pairs if pair[:1] == [what] and pair[1:2]]


def _answered(question: str, timeout_s: float, without: str) -> list[str]:
    """Lines that another process printed; nothing where it did not end in time."""
    command = [sys.executable, "-c", question]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.error("%s: none answered, %s", without, error)
        return []
    lines = done.stdout.splitlines()
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        logger.error("%s than %s: FAISS failed, %s", without, lines, last)
    return lines

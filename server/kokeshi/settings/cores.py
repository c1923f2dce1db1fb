"""How many cores there are for this process."""

import os
from math import ceil
from pathlib import Path
from typing import Final

# Of control group version 2, as a container sees its own: quota and period, or "max".
CPU_MAX: Final = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(cpu_max: Path = CPU_MAX) -> int:
    """Cores that this process may use: its affinity, and its control group's quota rounded up."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    try:
        quota, period = cpu_max.read_text().split()
    except (OSError, ValueError):  # no control group of version 2
        return cores
    return cores if quota == "max" else min(cores, ceil(int(quota) / int(period)))

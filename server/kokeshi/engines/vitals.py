"""What the kernel says of a process, read from /proc."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
# Of the control group as a container sees its own, and of the whole machine.
_OOM_COUNTERS: Final = (Path("/sys/fs/cgroup/memory.events"), PROC / "vmstat")

STOPPED: Final = "T"
GONE: Final = ("Z", "X")


@dataclass(frozen=True)
class Vitals:
    """One task at one moment: a process, or a thread of it."""

    state: str  # one letter, proc_pid_stat(5)
    exit_status: int  # as of wait(2); of a zombie alone


@dataclass(frozen=True)
class Thread:
    """One thread at one moment."""

    state: str
    ran_ns: int | None  # time on a core so far; None: this kernel does not count it


def vitals(pid: int) -> Vitals | None:
    """A process; None once it is gone and reaped."""
    fields = _fields(PROC / str(pid) / "stat")
    return None if fields is None else Vitals(fields[0], int(fields[-1]))


def threads(pid: int) -> dict[int, Thread]:
    """The threads of a process by id; none once it is gone."""
    found: dict[int, Thread] = {}
    try:
        folders = list((PROC / str(pid) / "task").iterdir())
    except OSError:
        return found
    for folder in folders:
        fields = _fields(folder / "stat")
        if fields is not None:
            found[int(folder.name)] = Thread(fields[0], _ran_ns(folder))
    return found


def _fields(stat: Path) -> list[str] | None:
    """Fields from the state on; the name before may hold spaces and brackets."""
    try:
        return stat.read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _ran_ns(folder: Path) -> int | None:
    try:
        return int((folder / "schedstat").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


class MemoryKills:
    """Tells whether the kernel killed for want of memory since the last question."""

    def __init__(self) -> None:
        self._counted = _oom_kills()

    def happened(self) -> bool:
        """Whether there was one more, here or anywhere on the machine."""
        before, self._counted = self._counted, _oom_kills()
        return self._counted > before


def _oom_kills() -> int:
    total = 0
    for file in _OOM_COUNTERS:
        try:
            lines = file.read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return total

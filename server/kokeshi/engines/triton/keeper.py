"""Keeps one tritonserver: it lives no longer than the gateway, and leaves nothing behind.

A program of its own, started by `process.Process` with the standard library alone. It stands
between the gateway and Triton because a gateway that is killed cannot clean up: Triton's children
notice the end of their parent only where something reaps it, those that are stopped never do, and
their shared memory stays.

Standard input is one JSON object: `gateway` (process id), `command`, `environment`, `shm_prefix`
(what begins so in /dev/shm is removed at the end). Standard output tells the gateway one JSON
object per line: {"pid": ...}, then {"exit": ...}, where a negative number is a signal.
"""

import ctypes
import json
import os
import select
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

SHARED_MEMORY: Final = Path("/dev/shm")
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_PR_SET_CHILD_SUBREAPER: Final = 36


def main() -> None:
    """Starts the program and waits for its end, the gateway's end or a signal."""
    asked = json.load(sys.stdin)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans of Triton's come to us
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # a handler, so that the pipe is told
    server = _start(libc, asked["command"], asked["environment"])
    _say({"pid": server})
    _wait(asked["gateway"], server, told)
    status = _end(server)
    _clean(asked["shm_prefix"])
    _say({"exit": os.waitstatus_to_exitcode(status)})


def _start(libc: ctypes.CDLL, command: list[str], environment: dict[str, str]) -> int:
    keeper = os.getpid()
    if server := os.fork():
        return server
    os.setpgid(0, 0)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != keeper:  # it died before it could be heard
        os._exit(1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what Triton prints is log
    try:
        os.execve(command[0], command, environment)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        os._exit(127)


def _wait(gateway: int, server: int, told: int) -> None:
    waiting = select.poll()
    waiting.register(told, select.POLLIN)
    waiting.register(os.pidfd_open(server), select.POLLIN)
    try:
        waiting.register(os.pidfd_open(gateway), select.POLLIN)
    except ProcessLookupError:
        return
    if os.getppid() == gateway:
        waiting.poll()


def _end(server: int) -> int:
    """Kills what is left of the server's group, and reaps; returns the server's wait status."""
    with suppress(ProcessLookupError):
        os.killpg(server, signal.SIGKILL)
    status = 0
    while True:
        try:
            pid, ended = os.wait()
        except ChildProcessError:
            return status
        if pid == server:
            status = ended


def _clean(prefix: str) -> None:
    for found in SHARED_MEMORY.glob(f"{prefix}*"):
        if found.is_dir():
            shutil.rmtree(found, ignore_errors=True)
        else:
            found.unlink(missing_ok=True)


def _say(what: dict[str, int]) -> None:
    try:
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the gateway is gone
        pass


if __name__ == "__main__":
    main()

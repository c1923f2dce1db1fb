"""Waits for what descriptors tell; select.select would fail beyond the 1024th of a process."""

import select


def ready(timeout_s: float, *fds: int) -> set[int]:
    """Those that are readable within a time; none where it passes."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return {fd for fd, _ in poll.poll(1e3 * timeout_s)}

"""Waiting for what another thread or process is about to do."""

import time


def wait_for(condition, timeout_s=60.0):
    """Comes back when it holds; fails after a time that a busy machine does not need."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, f"it did not come about within {timeout_s:g} s"
        time.sleep(0.005)

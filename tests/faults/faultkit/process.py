"""Starts drivers, kills them, and keeps the ledger of what they said."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from faultkit.work import operation

KIT = Path(__file__).parents[1]
ENDLESS = 10**6


def environment(**extra):
    paths = os.pathsep.join(filter(None, (str(KIT), os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"} | extra


def start(directory, seed, first=0, count=ENDLESS, environ=None, **settings):
    """A driver at work on a directory."""
    body = {"directory": str(directory), "seed": seed, "first": first, "count": count} | settings
    return subprocess.Popen(
        [sys.executable, "-m", "faultkit.driver", json.dumps(body)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(**(environ or {})),
    )


def follow(ledger, seed, lines):
    """Notes what a driver said; the number of the last operation that it began, -1: none."""
    last = -1
    for line in lines:
        word, *rest = line.split() if line.endswith("\n") else ("torn",)
        if word == "begin":
            last = int(rest[0])
            ledger.begin(operation(seed, last))
        elif word == "done":
            ledger.acknowledge(operation(seed, int(rest[0])))
        elif word == "refused":
            ledger.refuse()
    return last


def killed_at_random(directory, ledger, seed, first, rng):
    """Runs a driver, kills it at a random moment; the first number that it did not begin."""
    with start(directory, seed, first) as process:
        early = [process.stdout.readline()]
        assert early == ["open\n"]
        early += [process.stdout.readline() for _ in range(rng.randint(1, 150))]
        time.sleep(rng.uniform(0.0, 0.01))
        process.send_signal(signal.SIGKILL)
        early += process.stdout.read().splitlines(keepends=True)
    return max(follow(ledger, seed, early) + 1, first)


def run_to_death(directory, ledger, seed, first, **settings):
    """Runs a driver that ends by itself; (its exit status, the first number not begun)."""
    with start(directory, seed, first, **settings) as process:
        lines = process.stdout.read().splitlines(keepends=True)
        status = process.wait()
    return status, max(follow(ledger, seed, lines) + 1, first)

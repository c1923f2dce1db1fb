"""The short form of the fault tests runs with all others; `make faults` runs the full one."""

import os
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the tests share a package beside them

FULL_ROUNDS = 200


@pytest.fixture
def seed(record_property):
    """Of everything random; printed by the report of a failure."""
    chosen = int(os.environ.get("KOKESHI_FAULT_SEED", "7"))
    record_property("seed", chosen)
    return chosen


@pytest.fixture
def rng(seed, request):
    return random.Random(f"{seed} {request.node.name}")


@pytest.fixture
def rounds():
    """How many rounds: the first number in the short form, up to the second in the full one."""
    wanted = int(os.environ.get("KOKESHI_FAULT_ROUNDS", "0"))

    def choose(short, full):
        return max(short, full * wanted // FULL_ROUNDS)

    return choose


@pytest.fixture
def tally(record_property):
    """Notes for the report how much was done."""

    def note(**counts):
        for name, count in counts.items():
            record_property(name, count)

    return note

"""The full form of the fault tests: every family, many rounds, and a page that says what was done.

    python benchmarks/index/faults.py [--rounds 200] [--seed 7] [--only WORDS] [--report PAGE]

The short form of the same tests runs with all others; `--rounds` is the number of random kills, the
other families scale with it. Below the last heading of an earlier page stands what was found and
mended, by hand; it is kept.
"""

import argparse
import os
import platform
import sys
import time
from collections import defaultdict
from pathlib import Path

import apsw
import pytest

TESTS = Path(__file__).parents[2] / "tests" / "faults"
BY_HAND = "## Found and mended"
COUNTS = ("rounds", "operations", "searches")


class Notes:
    """Collects what each test did."""

    def __init__(self):
        self.tests = []
        self.failures = []

    def pytest_collection_modifyitems(self, items):
        for item in items:
            item.user_properties.append(("family", item.module.FAMILY))

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failures.append((report.nodeid.partition("::")[2], report.longreprtext))
        if report.when == "call":
            noted = dict(report.user_properties)
            self.tests.append((noted, report.outcome, report.duration))


def by_family(tests):
    """Sums of each family: tests, counts, failures and seconds."""
    families = defaultdict(lambda: defaultdict(float))
    for noted, outcome, took_s in tests:
        family = families[noted["family"]]
        family["tests"] += 1
        family["failed"] += outcome == "failed"
        family["seconds"] += took_s
        for name in COUNTS:
            family[name] += noted.get(name, 0)
    return dict(sorted(families.items(), key=lambda pair: int(pair[0].split()[0].rstrip(","))))


def page(arguments, notes, took_s):
    """The report, in Markdown."""
    lines = [
        "# Faults",
        "",
        f"`python benchmarks/index/faults.py --rounds {arguments.rounds} --seed {arguments.seed}`,",
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, Python {platform.python_version()},",
        f"SQLite {apsw.sqlite_lib_version()}, {took_s / 60:.0f} minutes. Each round is checked",
        "against an oracle of acknowledged writes: none lost, none half there, none back from the",
        "dead, and every answer as NumPy's.",
        "",
        "| family | tests | rounds | writes | searches | seconds | failed |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, family in by_family(notes.tests).items():
        counts = [f"{family[key]:.0f}" for key in ("tests", *COUNTS, "seconds", "failed")]
        lines.append(f"| {name} | {' | '.join(counts)} |")
    for name, text in notes.failures:
        lines += ["", f"Failed: `{name}`", "", "```", *text.splitlines()[-15:], "```"]
    return "\n".join(lines) + "\n"


def kept(report):
    """What an earlier page says by hand."""
    if not report.exists():
        return f"\n{BY_HAND}\n\nNothing yet.\n"
    _, _, rest = report.read_text().partition(BY_HAND)
    return f"\n{BY_HAND}{rest}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--only", default="")
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    os.environ["KOKESHI_FAULT_ROUNDS"] = str(arguments.rounds)
    os.environ["KOKESHI_FAULT_SEED"] = str(arguments.seed)
    notes, begun_s = Notes(), time.perf_counter()
    # only failed tests keep their folders: the others would fill the disk
    options = ["-q", "-p", "no:cacheprovider", "-o", "tmp_path_retention_policy=failed"]
    status = pytest.main([*options, "-k", arguments.only, str(TESTS)], plugins=[notes])
    written = page(arguments, notes, time.perf_counter() - begun_s)
    if arguments.report:
        arguments.report.write_text(written + kept(arguments.report))
    print(written)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())

"""Every row of the benchmark of collections: ours and its peers on the same arrays, in one run.

    python benchmarks/index/all.py [--scale 0.05] [--only hard served] [--reuse]

Prints JSON lines, keeps them in lines.jsonl, and says of each wanted figure whether it was reached.
Each row runs in a process of its own. `--page` writes the page from the lines of that folder.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from arrays import FOLDER
from run import Run, machine


def rows() -> dict[str, Callable[[Run], None]]:
    """In the order of the table."""
    import churn
    import rows_exact
    import rows_graphs
    import rows_stores

    return {
        "exact": rows_exact.exact,
        "exact16": rows_exact.exact16,
        "hard": rows_graphs.hard,
        "d512": rows_graphs.d512,
        "digits": rows_graphs.digits,
        "fresh": rows_stores.fresh,
        "served": rows_stores.served,
        "filtered": rows_stores.filtered,
        "ingest": rows_stores.ingest,
        "bytes": rows_graphs.sizes,
        "churn": churn.churn,
    }


def main() -> None:
    known = rows()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", nargs="+", choices=list(known), default=list(known))
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--reuse", action="store_true", help="take what peers built before")
    parser.add_argument("--skip", nargs="+", default=[], help="contestants to leave out")
    parser.add_argument("--page", type=Path, help="write the page from all lines so far")
    arguments = parser.parse_args()
    if len(arguments.only) > 1:
        sys.exit(_each(arguments))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    run = Run(arguments.scale, arguments.folder, arguments.reuse, arguments.skip)
    [run.row] = arguments.only
    run.tell(**machine())
    known[run.row](run)
    if arguments.page:
        from page import write

        write(arguments.page, arguments.folder, arguments.scale)


def _each(arguments: argparse.Namespace) -> int:
    """Every row in a process of its own: none inherits another's memory; 1 if one failed."""
    command = [sys.executable, __file__, "--scale", str(arguments.scale)]
    command += ["--folder", str(arguments.folder)]
    command += ["--reuse"] if arguments.reuse else []
    command += ["--page", str(arguments.page)] if arguments.page else []
    command += ["--skip", *arguments.skip] if arguments.skip else []
    codes = [_code([*command, "--only", row]) for row in arguments.only]
    return int(any(codes))


def _code(command: list[str]) -> int:
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    main()

"""Writes docs/benchmarks/index.md from the lines that a run kept.

    python benchmarks/index/page.py [--scale 1] [--page docs/benchmarks/index.md]

Of each row the latest run at that scale counts. What stands from the last heading on is written by
hand and kept.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from arrays import FOLDER, KINDS

BY_HAND = "## Where the time goes"
PAGE = Path("docs/benchmarks/index.md")
TITLES = {
    "exact": "Exact, one query",
    "exact16": "Exact, sixteen at once",
    "hard": "At recall 0.98, 1,024 numbers, the hard set",
    "d512": "At recall 0.98, 512 numbers, photographs",
    "digits": "At recall 0.98, 64 numbers, digits",
    "fresh": "A million of 768, freshly ingested",
    "served": "Served, 50,000 x 512",
    "filtered": "Filtered",
    "ingest": "Durable ingest, 512 float32",
    "bytes": "Bytes per row, opened again",
    "churn": "A million operations of churn",
}
COLUMNS = {
    "contestant": "",
    "selectivity": "filter lets through",
    "dial": "dial",
    "recall": "recall@10",
    "recall_broad": "at breadth 512",
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "p50_ms_16": "p50 ms, 16 clients",
    "p95_ms_16": "p95 ms, 16 clients",
    "per_s_16": "answers/s, 16 clients",
    "ms_per_query": "ms per query",
    "of_roof": "of the roof",
    "short_answers": "answers without k rows",
    "wrong_rows": "wrong rows",
    "build_s": "build s",
    "ingest_s": "of which ingest s",
    "open_s": "open s",
    "own_bytes_per_row": "own bytes/row",
    "mapped_bytes_per_row": "mapped bytes/row",
    "disk_bytes_per_row": "disk bytes/row",
    "rows_per_s_by_1000": "rows/s by 1,000",
    "rows_per_s_by_5000": "rows/s by 5,000",
    "rows_per_s_by_1": "rows/s singly",
    "p50_ms_by_1": "p50 ms singly",
    "p99_ms_by_1": "p99 ms singly",
    "operations": "operations",
    "live": "live rows",
    "index": "index",
    "tail": "rows beside it",
}
OURS = "kokeshi"

Line = dict[str, Any]


def latest(folder: Path, scale: float) -> dict[str, list[Line]]:
    """Lines of the last run of each row."""
    runs: dict[str, list[Line]] = {}
    for text in (folder / "lines.jsonl").read_text().splitlines():
        line = json.loads(text)
        if line["scale"] != scale:
            continue
        if "machine" in line:
            runs[line["row"]] = []
        runs.setdefault(line["row"], []).append(line)
    return runs


def table(lines: list[Line]) -> list[str]:
    """One line of Markdown per contestant; columns that nobody fills are left out."""
    told = [line for line in lines if "contestant" in line or "operations" in line]
    if not told:
        return []
    columns = [name for name in COLUMNS if any(name in line for line in told)]
    return [
        "| " + " | ".join(COLUMNS[name] for name in columns) + " |",
        "|" + "|".join("---" if name in {"contestant", "dial", "index"} else "---:"
                       for name in columns) + "|",
        *("| " + " | ".join(_cell(line, name) for name in columns) + " |" for line in told),
    ]  # fmt: skip


def _cell(line: Line, name: str) -> str:
    value = line.get(name, "")
    if name == "contestant":
        return f"**{value}**" if str(value).startswith(OURS) else str(value)
    if name == "dial":
        return ", ".join(f"{key} {each}" for key, each in value.items()) if value else ""
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def wishes(lines: list[Line]) -> list[str]:
    said = []
    for line in lines:
        if "wanted" in line:
            value = "not measured" if line["value"] is None else f"{line['value']:,.4g}"
            limit = f"{line['sense']} {line['limit']:,.4g}"
            end = "reached" if line["reached"] else "**not reached**"
            said.append(f"- {line['wanted']}: {value}, wanted {limit}: {end}")
        elif "stated" in line:
            said.append(f"- {line['stated']}: {line['value']:,.4g}")
        elif "note" in line:
            said.append(f"- {line['contestant']} {line['note']}")
        elif "roof_gb_per_s" in line:
            said.append(f"- roof: {line['roof_gb_per_s']} GB/s")
    return said


def section(row: str, lines: list[Line]) -> list[str]:
    sets = [line for line in lines if "prefix_self_recall" in line]
    told = []
    for line in sets:
        shares = ", ".join(
            f"{share:.2f} at {length}" for length, share in line["prefix_self_recall"].items()
        )
        told.append(
            f"{line['rows']:,} x {line['dim']} of {KINDS[line['data']].says}; prefix self-recall "
            f"{shares}."
        )
    command = (
        f"`python benchmarks/index/all.py --only {row}`, load {lines[0]['load'][0]} before it."
    )
    parts = [f"## {TITLES[row]}", "", command, *told, "", *table(lines), "", *wishes(lines), ""]
    return [part for place, part in enumerate(parts) if part or parts[place - 1]]


def write(page: Path, folder: Path, scale: float) -> None:
    runs = latest(folder, scale)
    before = page.read_text() if page.exists() else ""
    by_hand = before[before.find(BY_HAND) :] if BY_HAND in before else f"{BY_HAND}\n"
    first = next(iter(runs.values()))[0]
    lines = [
        "# Collections",
        "",
        "What `make bench-index` measured: every contestant was fed the same arrays and queries, "
        "in a process of its own, with the same number of threads; they took turns of "
        f"{first['queries_per_turn']} queries, so that a busy machine slows all of them. Recall "
        "is that of the ten nearest against float64. Dials are the cheapest tried that reach "
        "recall 0.98.",
        "",
        f"Machine: {first['machine']}, {first['cores']} cores, {first['memory_gib']} GiB, no GPU; "
        f"Python {first['python']}. Scale {scale:g}.",
        "",
    ]
    for row in TITLES:
        if row in runs:
            lines += section(row, runs[row])
    page.write_text("\n".join(lines) + "\n" + by_hand)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    write(arguments.page, arguments.folder, arguments.scale)


if __name__ == "__main__":
    main()

"""docs/methods.md says of each method what the golden files and the records say.

`pytest tests/unit/test_methods_page.py --update-tables` rewrites it from them.
"""

import json
from pathlib import Path

import pytest

from kokeshi.registry import discover

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "methods.md"


def _worst(value):
    """The largest figure anywhere inside."""
    if isinstance(value, dict):
        return max((_worst(item) for item in value.values()), default=0.0)
    return float(value)


def _differences(golden):
    found = [value for key, value in golden.items() if key.startswith("worst")]
    found += [case["worst"] for case in golden.get("cases", {}).values() if "worst" in case]
    return found


def _row(path):
    golden = json.loads(path.read_text())
    reference = golden["reference"]
    worst = max(_worst(value) for value in _differences(golden))
    commit = reference["commit"]
    where = commit if commit.startswith("version") else commit[:7]
    told = "0" if worst == 0 else f"{worst:.1e}"
    return f"| `{path.stem}` | {reference['repository']}, {where} | {reference['class']} | {told} |"


def _verified():
    rows = "".join(f"{_row(path)}\n" for path in sorted((ROOT / "tests/golden").glob("*.json")))
    return f"| golden file | reference | class | worst difference |\n|---|---|---|---|\n{rows}"


def _checkpoints(method, registry):
    found = [each for each in registry.checkpoints.values() if each.method == method.name]
    if not found:
        return ""
    head = "| checkpoint | variant | licence of the weights | published |\n|---|---|---|---|\n"
    return head + "".join(
        f"| `{each.name}` | `{each.variant}` | {each.licence} | {_figures(each)} |\n"
        for each in found
    )


def _figures(checkpoint):
    told = [f"{name}: {value:g}" for name, value in checkpoint.figures.items()]
    return "; ".join(told) or "none"


def _rows(method, registry):
    named = [each.rows for each in registry.checkpoints.values() if each.method == method.name]
    return sorted({*method.rows, *(row for rows in named for row in rows)})


def _section(method, registry):
    numbers = ", ".join(map(str, _rows(method, registry)))
    names = ", ".join(f"`{name}`" for name in method.variants) or f"`{method.prefix}/NAME`"
    paper = method.paper
    return (
        f"### `{method.name}`: [{paper.title}]({paper.url})\n\n"
        f"{paper.authors}, {paper.year}. Code {method.licence}. "
        f"Catalogue: {numbers or 'a host'}.\n\n"
        f"Variants: {names}.\n\n{_checkpoints(method, registry)}\n"
    )


def _methods():
    registry = discover()
    built_in = [
        method
        for method in registry.methods.values()
        if registry.distributions[method.name] == "kokeshi"
    ]
    ordered = sorted(built_in, key=lambda each: (_rows(each, registry) or [999], each.name))
    return "".join(_section(method, registry) for method in ordered)


@pytest.mark.parametrize(("mark", "make"), [("verified", _verified), ("methods", _methods)])
def test_the_page_says_what_records_and_golden_files_say(mark, make, request):
    begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
    before, rest = PAGE.read_text().split(begin)
    told, after = rest.split(end)
    if request.config.getoption("--update-tables"):
        PAGE.write_text(f"{before}{begin}{make()}{end}{after}")
        return
    assert told == make()

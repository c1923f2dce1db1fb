"""docs/architecture.md draws the layers that import-linter enforces."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_layers_on_the_page_are_those_that_are_checked():
    page = (ROOT / "docs" / "architecture.md").read_text()
    block = re.search(r"## Layers\n.*?```\n(.*?)```", page, re.S)[1]
    drawn = [set(re.findall(r"\w+", line.split("  ")[0])) for line in block.splitlines()]
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (each["layers"] for each in linter["contracts"] if each["type"] == "layers")
    assert drawn == [set(re.findall(r"kokeshi\.(\w+)", layer)) for layer in layers]


def test_every_package_has_its_layer():
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (each["layers"] for each in linter["contracts"] if each["type"] == "layers")
    placed = set(re.findall(r"kokeshi\.(\w+)", " ".join(layers)))
    found = {path.stem for path in (ROOT / "server" / "kokeshi").iterdir()}
    assert found - placed <= {"__init__", "__main__", "__pycache__", "py", "data", "v1"}

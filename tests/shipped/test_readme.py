"""Every command of the README answers as the README says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
NUMBER = re.compile(r"[-+]?\d+\.\d+")


def _console():
    """Commands with the output that stands below them."""
    for block in re.findall(r"```console\n(.*?)```", README, re.S):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            yield pytest.param(command, output, id=command[:40])


@pytest.fixture(scope="module")
def run(server):
    """Runs a command of the README in docs/demo against the test's own server."""
    here = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{here}:{os.environ['PATH']}",
        "KOKESHI_SERVER": server.grpc,
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }

    def ran(command, folder="docs/demo"):
        command = command.replace("localhost:8000", server.http)
        return subprocess.run(
            command,
            shell=True,
            check=True,
            cwd=ROOT / folder,
            env=environment,
            capture_output=True,
            text=True,
        ).stdout

    demo = re.search(r"^demo:.*?\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)[1]
    for line in demo.strip().splitlines():
        ran(line.strip().replace("$(BIN)/", ""), ".")
    return ran


@pytest.mark.parametrize(("command", "output"), list(_console()))
def test_a_command_answers_as_the_readme_says(run, command, output):
    if command.startswith("curl") and not shutil.which("curl"):
        pytest.skip("there is no curl")
    found = run(command)
    # another processor rounds otherwise: words and columns are compared exactly, figures nearly
    assert NUMBER.sub("#", found.strip()).split() == NUMBER.sub("#", output.strip()).split()
    for ours, theirs in zip(NUMBER.findall(found), NUMBER.findall(output), strict=True):
        assert float(ours) == pytest.approx(float(theirs), rel=0.01, abs=0.001)


@pytest.mark.parametrize(
    ("position", "output"), [(0, r"16"), (1, r"\[\[b'0\.97\d*:7:7'\]\]")], ids=["openai", "kserve"]
)
def test_a_python_example_runs(server, monkeypatch, capsys, position, output):
    monkeypatch.chdir(ROOT / "docs/demo")
    examples = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(examples) == 2
    example = examples[position].replace("localhost:8000", server.http)
    exec(example.replace("localhost:8001", server.grpc))
    assert re.fullmatch(output, capsys.readouterr().out.strip())


def test_every_page_that_is_linked_exists():
    for page in re.findall(r"\]\((\S+?)\)", README):
        assert (ROOT / page).exists(), page

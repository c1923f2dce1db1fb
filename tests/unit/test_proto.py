"""The generated code is what the proto files give, and the pins are what it demands."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from google.protobuf import runtime_version

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "server" / "kokeshi" / "v1"


def test_the_generated_code_is_fresh(tmp_path):
    subprocess.run(
        [ROOT / "proto" / "generate.sh", tmp_path],
        check=True,
        env={"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"},
    )
    fresh = {path.name: path.read_bytes() for path in (tmp_path / "kokeshi" / "v1").iterdir()}
    kept = {path.name: path.read_bytes() for path in GENERATED.glob("*_pb2*")}
    assert kept == fresh


def _floor(name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (found,) = (line for line in project["dependencies"] if re.match(rf"{name}[>=]", line))
    return re.search(r">=([\d.]+)", found)[1]


def _numbers(version):
    return tuple(map(int, version.split(".")))


def test_the_floors_are_those_of_the_generated_code():
    text = (GENERATED / "vision_pb2_grpc.py").read_text()
    generated = re.search(r"GRPC_GENERATED_VERSION = '([\d.]+)'", text)[1]
    assert _numbers(_floor("grpcio")) >= _numbers(generated)
    text = (GENERATED / "vision_pb2.py").read_text()
    assert _floor("protobuf") == re.search(r"# Protobuf Python Version: ([\d.]+)", text)[1]


def test_the_protobuf_that_is_installed_runs_it():
    assert runtime_version.MAJOR == 6  # tritonclient takes no newer one

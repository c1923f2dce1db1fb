"""Installing a tritonserver, finding it, and refusing what cannot work."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from kokeshi.engines.triton import install as installing
from kokeshi.engines.triton.install import (
    REQUIREMENTS,
    check_machine,
    check_python,
    find_libpython,
    install,
    pins,
    remove,
)
from kokeshi.engines.triton.installation import MARKER, Wheel, find_tritonserver, installed, mark
from kokeshi.engines.triton.trial import GRAPH, run_one_model
from kokeshi.errors import SetupError


def wheel_in(folder: Path, requirements: str) -> Wheel:
    program = folder / "tritonserver"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text("")
    return Wheel(str(program), str(folder), (), "bin", "packages", {"numpy": "1"}, requirements)


@pytest.fixture
def without_path(monkeypatch, tmp_path):
    """No tritonserver but those of the test."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("kokeshi.engines.triton.installation.IMAGE", tmp_path / "opt")
    (tmp_path / "bin").mkdir()
    return tmp_path


def program_in(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "tritonserver"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


def test_where_there_is_no_tritonserver_the_message_says_how_to_get_one(without_path):
    with pytest.raises(SetupError, match="run: kokeshi triton install"):
        find_tritonserver(without_path / "empty")


def test_what_is_on_path_goes_before_what_is_installed(without_path):
    mark(without_path, wheel_in(without_path / "wheel", pins()))
    assert find_tritonserver(without_path).wheel is not None

    program = program_in(without_path / "bin")

    assert find_tritonserver(without_path).program == program
    assert find_tritonserver(without_path).wheel is None


def test_the_server_of_nvidias_image_is_found(without_path):
    program = program_in(without_path / "opt" / "bin")

    assert find_tritonserver(without_path).program == program


@pytest.mark.parametrize("content", [None, "", "{", "{}", '{"program": "x", "libraries": []}'])
def test_half_an_installation_is_not_taken_for_a_whole_one(tmp_path, content):
    wheel_in(tmp_path, pins())
    if content is not None:
        (tmp_path / MARKER).write_text(content)

    assert installed(tmp_path) is None


def test_an_installation_that_lost_its_program_is_not_whole(tmp_path):
    wheel = wheel_in(tmp_path, pins())
    mark(tmp_path, wheel)
    assert installed(tmp_path) == wheel

    Path(wheel.program).unlink()

    assert installed(tmp_path) is None


def test_what_is_installed_is_not_installed_again(tmp_path):
    wheel = wheel_in(tmp_path, pins())
    mark(tmp_path, wheel)
    steps = []

    assert install(tmp_path, report=steps.append) == wheel
    assert steps == ["already installed"]


def test_an_installation_of_other_pins_is_replaced(tmp_path, monkeypatch):
    mark(tmp_path, wheel_in(tmp_path, "of another version"))
    (tmp_path / "env").mkdir()
    monkeypatch.setattr(installing, "REQUIREMENTS", tmp_path / "absent.txt", raising=True)
    monkeypatch.setattr(installing, "pins", lambda: "new")

    with pytest.raises(SetupError, match="the packages cannot be installed"):
        install(tmp_path)

    assert installed(tmp_path) is None


def test_without_a_package_index_the_message_says_so(tmp_path, monkeypatch):
    for name in ("UV_OFFLINE", "PIP_NO_INDEX"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")

    with pytest.raises(SetupError, match="is the package index within reach"):
        install(tmp_path / "triton")

    assert installed(tmp_path / "triton") is None


@pytest.mark.parametrize(
    ("machine", "libc", "number", "told"),
    [
        ("riscv64", "glibc", "2.36", "Linux on x86_64 or aarch64, not on linux on riscv64"),
        ("x86_64", "glibc", "2.31", "needs glibc 2.35 or newer, not glibc 2.31"),
        ("x86_64", "", "", "needs glibc 2.35 or newer, not another C library"),
    ],
)
def test_a_machine_that_does_not_fit_is_refused(machine, libc, number, told):
    with pytest.raises(SetupError, match=re.escape(told)):
        check_machine(machine, libc, number)


@pytest.mark.parametrize("number", [(3, 10), (3, 13), (4, 0)])
def test_an_interpreter_that_does_not_fit_is_refused(number):
    with pytest.raises(SetupError, match=r"run in Python 3\.11 to 3\.12, not .*--python"):
        check_python(number)


def test_an_interpreter_without_a_shared_library_is_refused(tmp_path):
    with pytest.raises(
        SetupError, match=r"libpython3\.12\.so\.1\.0 is nowhere in .*libpython3\.12"
    ):
        find_libpython((3, 12), [str(tmp_path), "/nowhere"])

    (tmp_path / "libpython3.12.so.1.0").touch()
    assert find_libpython((3, 12), ["/nowhere", str(tmp_path)]) == str(tmp_path)


def test_an_interpreter_that_is_none_is_refused(tmp_path):
    with pytest.raises(SetupError, match="'/bin/false' is no Python"):
        install(tmp_path, python="/bin/false")


def test_the_pins_name_the_onnx_runtime_that_is_installed_here():
    pinned = dict(re.findall(r"^([\w-]+)==([\w.]+)", REQUIREMENTS.read_text(), re.M))

    assert pinned["onnxruntime"] == version("onnxruntime")
    assert pinned["nvidia-pytriton"] == "0.7.0"
    assert pinned["numpy"].startswith("1.")


def test_every_pin_has_a_hash():
    blocks = re.split(r"^(?=[\w-]+==)", REQUIREMENTS.read_text(), flags=re.M)[1:]

    assert len(blocks) >= 5
    assert all("--hash=sha256:" in block for block in blocks)


def test_the_model_of_the_trial_is_what_its_comment_says():
    io = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"]) for name in "xy"]
    node = helper.make_node("Add", ["x", "x"], ["y"])
    graph = helper.make_graph([node], "twice", io[:1], io[1:])
    opset = helper.make_opsetid("", 13)

    expected = helper.make_model(graph, opset_imports=[opset], ir_version=8)

    assert onnx.load_from_string(GRAPH) == expected


def test_a_server_that_does_not_start_fails_the_trial_with_its_last_words(tmp_path):
    wheel = wheel_in(tmp_path, pins())
    Path(wheel.program).write_text("#!/bin/sh\necho 'error: no luck today' >&2\nexit 3\n")
    Path(wheel.program).chmod(0o755)

    with pytest.raises(SetupError, match="exited with status 3: error: no luck today"):
        run_one_model(wheel)


def test_what_was_installed_is_removed(tmp_path):
    folder = tmp_path / "triton"
    mark(folder, wheel_in(folder, pins()))

    assert remove(folder)
    assert not folder.exists()
    assert not remove(folder)


def test_the_installed_server_runs_a_model(tritonserver):
    run_one_model(tritonserver.wheel)

    assert {"nvidia-pytriton", "onnxruntime", "numpy"} == set(tritonserver.wheel.versions)


def test_the_command_says_what_is_installed(tritonserver):
    folder = Path(tritonserver.wheel.backends).parent
    command = [sys.executable, "-c", "from kokeshi.cli.triton import app; app()"]
    environment = {**os.environ, "PATH": os.path.dirname(shutil.which("env") or "/usr/bin")}

    done = subprocess.run(
        [*command, "status", "--folder", str(folder), "--json"],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip

    assert json.loads(done.stdout)["installed"] == json.loads(
        json.dumps(asdict(tritonserver.wheel))
    )

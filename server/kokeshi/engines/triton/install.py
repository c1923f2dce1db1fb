"""Installs a tritonserver from PyPI, into an environment of its own.

The wheel `nvidia-pytriton` holds the server with its Python backend. It is installed without its
dependencies, which are clients that nothing here needs. Beside it stands what our backend imports;
NumPy 1 because the wheel's stub takes arrays of NumPy 2 for empty ones.
"""

import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from kokeshi.engines.triton.installation import MARKER, Wheel, installed, mark
from kokeshi.errors import SetupError

REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
GLIBC: Final = (2, 35)
MACHINES: Final = ("x86_64", "aarch64")
PYTHONS: Final = ((3, 11), (3, 12))  # ONNX Runtime from the first on, NumPy 1 up to the last
TIMEOUT_S: Final = 1800.0
LOCK: Final = "lock"
ENVIRONMENT: Final = "env"
DISTRIBUTIONS: Final = ("nvidia-pytriton", "onnxruntime", "numpy")

# Runs in the environment's own interpreter.
_DESCRIBE: Final = """
import importlib.metadata, json, sys, sysconfig
names = sys.argv[1:]
said = lambda name: sysconfig.get_config_var(name) or ""
print(json.dumps({
    "version": sys.version_info[:2],
    "libraries": [said("LIBDIR"), said("LIBDIR") + "/" + said("MULTIARCH"),
                  sys.base_prefix + "/lib"],
    "packages": sysconfig.get_path("purelib"),
    "versions": {one.metadata["Name"]: one.version for one in importlib.metadata.distributions()
                 if one.metadata["Name"] in names},
}))
"""

Report = Callable[[str], None]


def install(
    folder: Path, *, python: str = sys.executable, report: Report = lambda _: None
) -> Wheel:
    """Installs into a folder what is not there yet, and tries it.

    Args:
        folder: made where needed; what an earlier, other installation left is replaced.
        python: interpreter whose version runs the graphs.
        report: is told each step.

    Raises:
        SetupError: it cannot work on this machine, or the package index cannot be reached.
    """
    from kokeshi.engines.triton.trial import run_one_model

    check_machine(platform.machine(), *platform.libc_ver())
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        wheel = installed(folder)
        if wheel is not None and wheel.requirements == pins():
            report("already installed")
            return wheel
        wheel = _install(folder, python, report)
        report("trying it on a model of one node")
        run_one_model(wheel)
        mark(folder, wheel)
    return wheel


def remove(folder: Path) -> bool:
    """Removes an installation; says whether there was anything."""
    if not folder.is_dir():
        return False
    with _alone(folder):
        (folder / MARKER).unlink(missing_ok=True)
        shutil.rmtree(folder)
    return True


def pins() -> str:
    """What tells one set of pins from another."""
    return sha256(REQUIREMENTS.read_bytes()).hexdigest()


def check_machine(machine: str, libc: str, version: str) -> None:
    """Refuses a machine that the wheel does not run on.

    Raises:
        SetupError: with what was found and what is needed.
    """
    if sys.platform != "linux" or machine not in MACHINES:
        raise SetupError(
            f"the tritonserver of nvidia-pytriton runs on Linux on {' or '.join(MACHINES)}, "
            f"not on {sys.platform} on {machine}"
        )
    needed = ".".join(map(str, GLIBC))
    numbers = tuple(int(part) for part in version.split(".") if part.isdecimal())
    if libc != "glibc" or numbers < GLIBC:
        raise SetupError(
            f"the tritonserver of nvidia-pytriton needs glibc {needed} or newer, "
            f"not {libc or 'another C library'} {version}"
        )


def check_python(version: Sequence[int]) -> None:
    """Refuses an interpreter that Triton's stub, NumPy 1 and ONNX Runtime do not share.

    Raises:
        SetupError: with what was found and what is needed.
    """
    (low, high), found = PYTHONS, tuple(version)
    if not low <= found <= high:
        raise SetupError(
            f"Triton's models run in Python {low[0]}.{low[1]} to {high[0]}.{high[1]}, "
            f"not {found[0]}.{found[1]}; name another interpreter with --python"
        )


def find_libpython(version: Sequence[int], folders: Sequence[str]) -> str:
    """The folder of the shared library of an interpreter.

    Raises:
        SetupError: the interpreter has none.
    """
    name = f"libpython{version[0]}.{version[1]}.so.1.0"
    for folder in folders:
        if Path(folder, name).is_file():
            return folder
    raise SetupError(
        f"{name} is nowhere in {', '.join(dict.fromkeys(folders))}: Triton's stub needs an "
        f"interpreter with a shared library (Debian: package libpython{version[0]}.{version[1]}; "
        f"pyenv: --enable-shared); name another one with --python"
    )


def _install(folder: Path, python: str, report: Report) -> Wheel:
    for old in folder.iterdir():
        if old.name != LOCK:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    check_python(_ask(python)["version"])
    environment = folder / ENVIRONMENT
    report(f"making an environment with {python}")
    uv = _uv()
    _make(environment, python, uv)
    report("installing from the package index, 150 MB")
    _fill(environment, uv)
    return _lay_out(folder, _ask(str(environment / "bin" / "python"), *DISTRIBUTIONS))


def _make(environment: Path, python: str, uv: str | None) -> None:
    command = [uv, "venv", "--quiet", "--python", python] if uv else [python, "-m", "venv"]
    _run([*command, str(environment)], "an environment cannot be made; installing uv may help")


def _fill(environment: Path, uv: str | None) -> None:
    python = str(environment / "bin" / "python")
    tool = [uv, "pip"] if uv else [python, "-m", "pip", "--disable-pip-version-check"]
    command = [*tool, "install", "--quiet", *(["--python", python] if uv else [])]
    _run(
        [*command, "--no-deps", "--require-hashes", "-r", str(REQUIREMENTS)],
        "the packages cannot be installed; is the package index within reach?",
    )


def _lay_out(folder: Path, said: dict[str, Any]) -> Wheel:
    packages, version = Path(said["packages"]), said["version"]
    home = packages / "pytriton" / "tritonserver"
    stub = home / "python_backend_stubs" / ".".join(map(str, version))
    backends = folder / "backends"
    shutil.copytree(home / "backends", backends)
    copied = shutil.copy2(stub / "triton_python_backend_stub", backends / "python")
    Path(copied).chmod(0o755)
    program = home / "bin" / "tritonserver"
    program.chmod(0o755)
    return Wheel(
        program=str(program),
        backends=str(backends),
        libraries=(
            str(packages / "nvidia_pytriton.libs"),
            find_libpython(version, said["libraries"]),
        ),
        programs=str(folder / ENVIRONMENT / "bin"),
        packages=str(packages),
        versions=said["versions"],
        requirements=pins(),
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _uv() -> str | None:
    """Program of uv, which installs several times as fast as pip, where there is one."""
    try:
        from uv import find_uv_bin
    except ImportError:
        return shutil.which("uv")
    return str(find_uv_bin())


def _ask(python: str, *distributions: str) -> dict[str, Any]:
    answer = _run([python, "-c", _DESCRIBE, *distributions], f"{python!r} is no Python")
    return json.loads(answer)


def _run(command: Sequence[str], problem: str) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"{problem} ({error})") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise SetupError(f"{problem} ({' '.join(said[-3:]) or done.returncode})")
    return done.stdout

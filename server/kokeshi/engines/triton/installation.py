"""Where a tritonserver is, and how it is started.

One in NVIDIA's image or on PATH goes first: it has Triton's own ONNX Runtime backend, in C++. The
one that `kokeshi triton install` lays out has the Python backend alone, and runs ours of that name.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from platformdirs import user_data_path

from kokeshi.errors import SetupError

IMAGE: Final = Path("/opt/tritonserver")  # where NVIDIA's image has it
PROGRAM: Final = "tritonserver"
MARKER: Final = "installed.json"  # written last: without it an installation is not whole
OUR_BACKENDS: Final = Path(__file__).parent / "backends"
ONNX_BACKEND: Final = "onnxruntime"


@dataclass(frozen=True)
class Wheel:
    """What `kokeshi triton install` laid out; the marker's content."""

    program: str
    backends: str  # folder with `python` in it
    libraries: tuple[str, ...]  # folders for the loader: the wheel's own, and libpython's
    programs: str  # folder of the environment's interpreter, which Triton's stub looks for
    packages: str  # site-packages with numpy and onnxruntime
    versions: Mapping[str, str]  # of what matters, by distribution
    requirements: str  # sha256 of the pins it was made from


@dataclass(frozen=True)
class Installation:
    """A tritonserver that can be started."""

    program: Path
    wheel: Wheel | None = None  # None: Triton's own, with its own backends

    @property
    def told(self) -> str:
        """One line for people."""
        if self.wheel is None:
            return f"{self.program}, with its own backends"
        versions = ", ".join(f"{name} {one}" for name, one in self.wheel.versions.items())
        return f"{self.program} ({versions}), with Kokeshi's backend {ONNX_BACKEND!r}"

    def lay_out(self, folder: Path) -> Path | None:
        """Makes a folder of backends in `folder`, or None where Triton's own are used."""
        if self.wheel is None:
            return None
        backends = folder / "backends"
        backends.mkdir()
        for backend in Path(self.wheel.backends).iterdir():
            (backends / backend.name).symlink_to(backend)
        (backends / ONNX_BACKEND).symlink_to(OUR_BACKENDS / ONNX_BACKEND)
        return backends

    def environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        """The environment of the server's process: the gateway's, and what Triton must find."""
        environment = {**os.environ, **extra}
        if self.wheel is None:
            return environment
        paths = [*self.wheel.libraries, os.environ.get("LD_LIBRARY_PATH", "")]
        return environment | {
            "LD_LIBRARY_PATH": ":".join(filter(None, paths)),
            "PATH": f"{self.wheel.programs}:{os.environ.get('PATH', os.defpath)}",
            "PYTHONPATH": self.wheel.packages,
            "PYTHONNOUSERSITE": "1",
        }


def default_folder() -> Path:
    """Where `kokeshi triton install` installs, unless told otherwise."""
    return user_data_path("kokeshi", appauthor=False) / "triton"


def find_tritonserver(folder: Path) -> Installation:
    """The tritonserver to start: on PATH, in NVIDIA's image, or installed into `folder`.

    Raises:
        SetupError: there is none; the message says how to get one.
    """
    found = shutil.which(PROGRAM) or shutil.which(PROGRAM, path=str(IMAGE / "bin"))
    if found:
        return Installation(Path(found))
    wheel = installed(folder)
    if wheel is None:
        raise SetupError(
            "no tritonserver on PATH, in /opt/tritonserver or installed; "
            "run: kokeshi triton install"
        )
    return Installation(Path(wheel.program), wheel)


def installed(folder: Path) -> Wheel | None:
    """What is installed in a folder; None unless it is whole."""
    try:
        said = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        wheel = Wheel(**{**said, "libraries": tuple(said["libraries"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return wheel if Path(wheel.program).is_file() else None


def mark(folder: Path, wheel: Wheel) -> None:
    """Says that an installation is whole."""
    partial = folder / f"{MARKER}.part"
    partial.write_text(json.dumps(asdict(wheel), indent=1), encoding="utf-8")
    partial.replace(folder / MARKER)

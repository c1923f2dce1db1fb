"""NVIDIA's perf_analyzer, from the last wheel that carries it, in an environment of its own.

The binary wants libb64.so.0d, which is Debian's package libb64-0d.
"""

import csv
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

UV = Path(sys.executable).with_name("uv")
WHEEL = "tritonclient==2.44.0"  # later ones left the binary out
CUDA = "nvidia-cuda-runtime-cu12"
WINDOW_MS = 2000


@dataclass(frozen=True)
class Measured:
    """One line of its report."""

    load: str  # "16" requests at once, or "500" requests a second
    rate: float
    p50_us: float
    p99_us: float


class Analyzer:
    """The tool, installed where it is not yet.

    Args:
        folder: of environments.
    """

    def __init__(self, folder: Path) -> None:
        place = folder / "perf_analyzer"
        if not (place / "complete").exists():
            subprocess.run([UV, "venv", "--quiet", "--clear", place], check=True)
            install = [UV, "pip", "install", "--quiet", "--python", place / "bin" / "python"]
            subprocess.run([*install, "--no-deps", WHEEL, CUDA], check=True)
            (place / "complete").touch()
        self._binary = place / "bin" / "perf_analyzer"
        self._libraries = next(place.rglob("libcudart.so.12")).parent

    def __call__(self, address: str, model: str, *flags: str) -> list[Measured]:
        """Runs it against a gRPC address, and returns its lines.

        Raises:
            RuntimeError: it found an error in any answer, or did not come to an end.
        """
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder, "report.csv")
            command = [self._binary, "-m", model, "-u", address, "-i", "grpc", "-f", report]
            command += ["-p", str(WINDOW_MS), "-s", "999", *flags]
            environment = {**os.environ, "LD_LIBRARY_PATH": str(self._libraries)}
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=300, check=False
            )
            if done.returncode:
                told = (done.stdout + done.stderr)[:1000]
                raise RuntimeError(f"perf_analyzer {' '.join(flags)}: {told}")
            if not report.exists():  # of a mode that exports a profile instead
                return []
            return [_line(row) for row in csv.DictReader(report.open())]


def _line(row: dict[str, str]) -> Measured:
    load = row.get("Concurrency") or row.get("Request Rate") or ""
    return Measured(
        load,
        float(row["Inferences/Second"]),
        float(row["p50 latency"]),
        float(row["p99 latency"]),
    )

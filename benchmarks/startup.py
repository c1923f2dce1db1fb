"""Time from process start to ready, and resident memory, with the shipped models.

    python benchmarks/startup.py [RUNS]

Ready is the first 200 of `/v1/health/ready`: every model is loaded and has run once. Memory is read
when ready, and after one request to each model.
"""

import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
MODELS = {"digits": "classify", "digits_mrl": "embed", "digit_scenes": "segment"}


def main(runs: int) -> None:
    rows = [_run() for _ in range(runs)]
    for place, what in enumerate(("start to ready, s", "resident, MiB", "after requests, MiB")):
        values = [row[place] for row in rows]
        middle = statistics.median(values)
        print(f"{what:22} median {middle:8.2f}  min {min(values):8.2f}  max {max(values):8.2f}")


def _run() -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "kokeshi", "serve", "--data", data]
        command += ["--repository", str(ROOT / "model_repository"), "--log-level", "WARNING"]
        command += ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
        started_s = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        found = re.search(r"http://(\S+)", process.stdout.readline())
        assert found, "the server did not open its doors"
        _wait(f"http://{found[1]}/v1/health/ready")
        taken_s = time.perf_counter() - started_s
        before = _resident_mib(process)
        for model, task in MODELS.items():
            _ask(f"http://{found[1]}/v1/models/{model}/{task}")
        after = _resident_mib(process)
        process.terminate()
        process.wait()
        return taken_s, before, after


def _resident_mib(process: subprocess.Popen[str]) -> float:
    return psutil.Process(process.pid).memory_info().rss / 2**20


def _wait(url: str) -> None:
    while True:
        try:
            with urllib.request.urlopen(url):
                return
        except urllib.error.HTTPError as error:
            error.close()
            time.sleep(0.01)


def _ask(url: str) -> None:
    image = (ROOT / "docs" / "demo" / "seven.png").read_bytes()
    request = urllib.request.Request(url, image, {"Content-Type": "image/png"})
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)

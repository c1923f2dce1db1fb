"""The peers: how each is installed, started and asked. Each has an environment of its own."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from load import Ask, post

APPS = Path(__file__).parent / "apps"
UV = Path(sys.executable).with_name("uv")
COMMON = ("onnxruntime==1.31.1", "pillow", "numpy")
START_S = 90
BOUNDARY = uuid.uuid5(uuid.NAMESPACE_DNS, "kokeshi").hex


@dataclass(frozen=True)
class Tuning:
    """Processes that run the graph, threads of each, and the largest batch."""

    workers: int
    threads: int
    batch: int

    def __str__(self) -> str:
        return f"{self.workers} x {self.threads} threads, batches to {self.batch}"


# What the documentation of each suggests for two cores; the best of them counts.
TUNINGS = (Tuning(1, 2, 8), Tuning(2, 1, 8), Tuning(2, 1, 1))


@dataclass(frozen=True)
class Peer:
    """A server of pictures in an environment of its own."""

    name: str
    requirements: tuple[str, ...]
    command: tuple[str, ...]  # after the environment's bin folder; {port} is filled in
    form_field: str = ""  # of a multipart upload; empty: the body is the picture
    path: str = "/classify"
    ready: str = "/classify"  # answers anything but a refused connection or 5xx

    def ask(self, address: str, picture: bytes, label: int) -> Ask:
        """A request for one picture, with its right answer."""
        body, kind = picture, "image/jpeg"
        if self.form_field:
            head = (
                f"--{BOUNDARY}\r\ncontent-disposition: form-data; name={self.form_field}; "
                "filename=picture.jpg\r\ncontent-type: image/jpeg\r\n\r\n"
            )
            body = head.encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()
            kind = f"multipart/form-data; boundary={BOUNDARY}"
        wire = post(address, self.path, body, [("content-type", kind)])
        return Ask(wire, lambda answer: _label(answer) == label)


def _label(answer: bytes) -> int:
    found = json.loads(answer)
    while not isinstance(found, int):
        found = found["label"] if isinstance(found, dict) else found[0]
    return found


PEERS = (
    Peer("LitServe", ("litserve==0.2.19",), ("python", "litserve_app.py"), "picture"),
    Peer(
        "mosec",
        ("mosec==0.9.8",),
        ("python", "mosec_app.py", "--port", "{port}", "--timeout", "60000"),
        path="/inference",
        ready="/",
    ),
    Peer(
        "BentoML",
        ("bentoml==1.4.39",),
        ("bentoml", "serve", "bentoml_app:Classifier", "--port", "{port}"),
        "pictures",
        ready="/readyz",
    ),
    Peer("Ray Serve", ("ray[serve]==2.60.0",), ("python", "ray_app.py"), ready="/-/healthz"),
)


def install(peer: Peer, folder: Path) -> Path:
    """The bin folder of the peer's environment, made where it is not there."""
    place = folder / peer.name.lower().replace(" ", "_")
    if not (place / "complete").exists():
        subprocess.run([UV, "venv", "--quiet", "--clear", place], check=True)
        python = place / "bin" / "python"
        wanted = [*peer.requirements, *COMMON]
        subprocess.run([UV, "pip", "install", "--quiet", "--python", python, *wanted], check=True)
        (place / "complete").touch()
    return place / "bin"


@contextmanager
def running(
    peer: Peer, binaries: Path, graph: Path, port: int, tuning: Tuning
) -> Iterator[psutil.Process]:
    """The peer's server while the context lasts, ready to answer."""
    command = [word.format(port=port) for word in peer.command]
    command[0] = str(binaries / command[0])
    environment = {
        **os.environ,
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "PYTHONPATH": str(APPS),
        "BENCH_GRAPH": str(graph),
        "BENCH_PORT": str(port),
        "BENCH_WORKERS": str(tuning.workers),
        "BENCH_THREADS": str(tuning.threads),
        "BENCH_BATCH": str(tuning.batch),
        "DO_NOT_TRACK": "1",
        "BENTOML_DO_NOT_TRACK": "True",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with Path(os.environ.get("BENCH_LOG", os.devnull)).open("ab") as log:
        process = subprocess.Popen(
            command, cwd=APPS, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}{peer.ready}", process)
        yield psutil.Process(process.pid)
    finally:
        stop(process)


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    """Returns when the address answers.

    Raises:
        RuntimeError: the process ended, or START_S passed.
    """
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise RuntimeError(f"{url} does not answer; the process ended with {process.poll()}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a server and everything it started."""
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for child in family:
        if child.is_running():
            child.kill()


def resident_mib(process: psutil.Process) -> float:
    """Memory of a process and its children that is theirs alone, with their share of the rest."""
    family = [process, *process.children(recursive=True)]
    return sum(each.memory_full_info().pss for each in family) / 2**20

"""Kokeshi as the benchmarks start and ask it."""

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from load import Ask, post
from peers import stop, wait_until_ready


@dataclass(frozen=True)
class Running:
    """A server that is ready."""

    http: str
    grpc: str
    process: psutil.Process

    def metrics(self) -> str:
        """The text of /metrics."""
        with urllib.request.urlopen(f"http://{self.http}/metrics") as answer:
            return answer.read().decode()


@contextmanager
def running(repository: Path, *flags: str) -> Iterator[Running]:
    """`kokeshi serve` on free ports while the context lasts, ready."""
    with (
        Path(os.environ.get("BENCH_LOG", os.devnull)).open("ab") as log,
        tempfile.TemporaryDirectory() as data,
    ):
        command = [sys.executable, "-m", "kokeshi", "serve", "--repository", str(repository)]
        command += ["--data", data, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
        command += ["--allow-untrained", "--log-level", "WARNING", *flags]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
        try:
            assert process.stdout is not None
            found = re.search(r"http://(\S+)\s+grpc://(\S+)", process.stdout.readline().decode())
            assert found, "the server did not open its doors"
            wait_until_ready(f"http://{found[1]}/v1/health/ready", process)
            yield Running(found[1], found[2], psutil.Process(process.pid))
        finally:
            stop(process)


def ask(model: str, picture: bytes, label: int) -> Ask:
    """A request for one picture, with its right answer."""
    path = f"/v1/models/{model}/classify?top_k=1"
    wire = post("kokeshi", path, picture, [("content-type", "image/jpeg")])
    return Ask(wire, lambda answer: _label(answer) == label)


def _label(answer: bytes) -> int:
    return json.loads(answer)["results"][0]["labels"][0]["index"]


def expected(graph: Path, contract: object, pictures: Sequence[bytes]) -> list[int]:
    """The class of each picture, from a bare session."""
    import numpy as np
    import onnxruntime

    from kokeshi.images.preprocessing import preprocess

    rows = np.stack([preprocess(picture, contract).pixels for picture in pictures])
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"image": rows})[0].argmax(axis=1).tolist()

"""JPEG in, label out: throughput when saturated, latency at half of that, and overload.

    python benchmarks/serving/jpeg.py [--seconds 10] [--folder FOLDER] [--only NAME ...]

Prints one JSON document. All servers run the same ONNX file on the same two cores, which they share
with the load generator; each peer is run in several tunings, and the best counts.
"""

import argparse
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kokeshi_server
import numpy as np
import triton_peer
from load import Ask, Outcome, closed, opened, run
from models import make
from peers import PEERS, TUNINGS, Peer, install, resident_mib
from peers import running as peer_running
from pictures import jpegs

from kokeshi.contract import ImageInput
from kokeshi.engines.config import card_from, from_pbtxt

MODEL = "resnet50"
CLIENTS = 16
PORT = 9460
WARM_S = 3.0
BATCH = 8


def contract_of(repository: Path) -> ImageInput:
    card = card_from(from_pbtxt((repository / MODEL / "config.pbtxt").read_text("utf-8")))
    assert isinstance(card.input, ImageInput)
    return card.input


def saturated(address: str, asks: list[Ask], seconds: float) -> Outcome:
    """A warm-up, then the measured closed loop."""
    run(closed(address, asks, CLIENTS, WARM_S))
    return run(closed(address, asks, CLIENTS, seconds))


def of_peer(peer: Peer, folder: Path, graph: Path, asked: list[tuple[bytes, int]], seconds: float):
    """The peer's figures in each tuning; of one that does not work, why."""
    binaries = install(peer, folder / "environments")
    address = f"127.0.0.1:{PORT}"
    asks = [peer.ask(address, picture, label) for picture, label in asked]
    found = {}
    for tuning in TUNINGS:
        started_s = time.perf_counter()
        try:
            with peer_running(peer, binaries, graph, PORT, tuning) as process:
                ready_s = time.perf_counter() - started_s
                memory = resident_mib(process)
                outcome = saturated(address, asks, seconds)
        except RuntimeError as error:
            found[str(tuning)] = {"error": str(error)}
        else:
            found[str(tuning)] = figures(outcome) | {"ready_s": ready_s, "memory_mib": memory}
    return found


def of_triton(folder: Path, asked: list[tuple[bytes, int]], seconds: float):
    """Triton with Python pre-processing; its memory is that of all its processes."""
    asks = [triton_peer.ask(*pair) for pair in asked]
    with tempfile.TemporaryDirectory() as scratch:
        repository = Path(scratch)
        triton_peer.lay_out(repository, folder / "models", MODEL, folder / "environments")
        started_s = time.perf_counter()
        with triton_peer.running(repository, PORT, threads=2) as process:
            ready_s = time.perf_counter() - started_s
            memory = sum(resident_mib(child) for child in process.children())
            outcome = saturated(f"127.0.0.1:{PORT}", asks, seconds)
    told = "2 decoders, 1 x 2 threads"
    return {told: figures(outcome) | {"ready_s": ready_s, "memory_mib": memory}}


def figures(outcome: Outcome) -> dict[str, float]:
    return {
        "rate": outcome.rate,
        "p50_ms": outcome.percentile_ms(50),
        "p99_ms": outcome.percentile_ms(99),
        "wrong": outcome.wrong,
        "refused": outcome.refused,
        "failed": outcome.failed,
    }


def of_kokeshi(
    repository: Path, asks: list[Ask], seconds: float, rate: float | None
) -> dict[str, object]:
    """Saturated, then open loop at half of that, at a tenth (unloaded) and at three times it."""
    started_s = time.perf_counter()
    with kokeshi_server.running(repository) as server:
        ready_s = time.perf_counter() - started_s
        memory = resident_mib(server.process)
        full = saturated(server.http, asks, seconds)
        found = {"saturated": figures(full) | {"ready_s": ready_s, "memory_mib": memory}}
        for name, share in (("tenth", 0.1), ("half", 0.5), ("triple", 3.0)):
            found[name] = figures(
                run(opened(server.http, asks, share * (rate or full.rate), 2 * seconds))
            )
        found["memory_after_mib"] = resident_mib(server.process)
    return found


@contextmanager
def with_queue(repository: Path, size: int | None) -> Iterator[Path]:
    """The repository, or the model alone with a queue of this size."""
    if size is None:
        yield repository
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(shutil.copytree(repository / MODEL, Path(scratch, MODEL)))
        config = folder / "config.pbtxt"
        text = config.read_text("utf-8")
        config.write_text(re.sub(r"max_queue_size: \d+", f"max_queue_size: {size}", text), "utf-8")
        yield Path(scratch)


def limit(graph: Path, contract: ImageInput, pictures: list[bytes], seconds: float):
    """What the engine does in a bare loop on two threads, and decoding on the same two cores."""
    import onnxruntime

    from kokeshi.images.preprocessing import preprocess

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    rows = np.stack([preprocess(picture, contract).pixels for picture in pictures])[:BATCH]
    infer_s = _each(lambda: session.run(["probabilities"], {"image": rows}), seconds) / BATCH
    decode_s = _each(lambda: [preprocess(one, contract) for one in pictures], seconds / 2)
    decode_s /= len(pictures) * 2  # two cores
    rate = 1 / (infer_s + decode_s)
    return {"infer_ms": 1e3 * infer_s, "decode_ms": 1e3 * decode_s, "rate": rate}


def _each(work, seconds: float) -> float:
    work()
    started_s, count = time.perf_counter(), 0
    while time.perf_counter() - started_s < seconds:
        work()
        count += 1
    return (time.perf_counter() - started_s) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--folder", type=Path, default=Path("build/bench"))
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--queue", type=int, help="requests that may wait for Kokeshi's model")
    parser.add_argument("--full", type=float, help="answers/s to take for saturation")
    parser.add_argument("--large", action="store_true", help="pictures of 12 megapixels")
    asked = parser.parse_args()
    repository = asked.folder / "models"
    make(repository)
    graph = (repository / MODEL / "1" / "model.onnx").absolute()
    contract, pictures = contract_of(repository), jpegs(large=asked.large)
    labels = kokeshi_server.expected(graph, contract, pictures)
    pairs = list(zip(pictures, labels, strict=True))
    wanted = asked.only or ["limit", "Kokeshi", "Triton", *(peer.name for peer in PEERS)]
    found: dict[str, object] = {}
    for name in wanted:
        if name == "limit":
            found[name] = limit(graph, contract, pictures, asked.seconds)
        elif name == "Kokeshi":
            asks = [kokeshi_server.ask(MODEL, *pair) for pair in pairs]
            with with_queue(repository, asked.queue) as served:
                found[name] = of_kokeshi(served, asks, asked.seconds, asked.full)
        elif name == "Triton":
            found[name] = of_triton(asked.folder, pairs, asked.seconds)
        else:
            peer = next(peer for peer in PEERS if peer.name == name)
            found[name] = of_peer(peer, asked.folder, graph, pairs, asked.seconds)
        print(name, json.dumps(found[name]), flush=True)


if __name__ == "__main__":
    main()

"""Half an hour of mixed load at 80 % of saturation while models are loaded, unloaded and swapped.

    python benchmarks/serving/soak.py [--minutes 30] [--folder FOLDER] [--out FILE.csv]

Pictures are classified, embedded and segmented, and tensors inferred, over HTTP. Every answer is
compared with the one that the server gave before the load. Meanwhile new versions of a model under
load are published and loaded, one in two of them broken, and another model comes and goes. The end
is an error unless every request was answered rightly.
"""

import argparse
import asyncio
import csv
import json
import shutil
import struct
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import kokeshi_server
import numpy as np
from load import Ask, Outcome, closed, opened, post, run
from models import NEGATE, WIDTH, make, write_negate
from peers import resident_mib
from pictures import jpegs

SHIPPED = Path(__file__).parents[2] / "model_repository"
CALLS = {"resnet18": "classify", "digits": "classify", "digits_mrl": "embed",
         "digit_scenes": "segment"}  # fmt: skip
CLIENTS = 16
SHARE = 0.8
SLICE_S = 30.0
VISITOR = "visitor"  # the model that comes and goes


def negated(values: np.ndarray) -> Ask:
    """A binary tensor to the model that is swapped; all its versions answer the same."""
    shape = [1, WIDTH]
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": "x",
                    "shape": shape,
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": values.nbytes},
                }
            ],
            "outputs": [{"name": "y", "parameters": {"binary_data": True}}],
        }
    ).encode()
    wire = post(
        "kokeshi",
        f"/v2/models/{NEGATE}/infer",
        header + values.tobytes(),
        [
            ("inference-header-content-length", str(len(header))),
            ("content-type", "application/octet-stream"),
        ],
    )
    return Ask(wire, lambda body: body.endswith(struct.pack(f"<{WIDTH}f", *-values)))


def asks_for(address: str) -> list[Ask]:
    """One request of each kind for every picture, with the answers that the server gives now."""
    found = []
    for place, picture in enumerate(jpegs()):
        for model, task in CALLS.items():
            path, headers = f"/v1/models/{model}/{task}", {"content-type": "image/jpeg"}
            request = urllib.request.Request(f"http://{address}{path}", picture, headers)
            with urllib.request.urlopen(request) as answer:
                right = alike(answer.read())
            found.append(Ask(post("kokeshi", path, picture, [*headers.items()]), right))
        found.append(negated(np.arange(WIDTH, dtype=np.float32) + place))
    return found


def alike(expected: bytes):
    """Whether an answer is the same to the fourth place: batches of other sizes differ by less."""
    numbers = _numbers(json.loads(expected))

    def right(body: bytes) -> bool:
        found = _numbers(json.loads(body))
        return len(found) == len(numbers) and np.allclose(found, numbers, rtol=0, atol=1e-3)

    return right


def _numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [number for each in value.values() for number in _numbers(each)]
    if isinstance(value, list):
        return [number for each in value for number in _numbers(each)]
    return [float(value)] if isinstance(value, int | float) else []


def call(address: str, path: str) -> int:
    """Status of a POST without a body."""
    request = urllib.request.Request(f"http://{address}{path}", data=b"{}", method="POST")
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


class Changes:
    """Publishes versions and loads them, in turn: a new one, a broken one, a visitor's coming and
    going."""

    def __init__(self, repository: Path, address: str) -> None:
        self._repository = repository
        self._address = address
        self.count = 0
        self.surprises: list[str] = []

    async def run(self, seconds: float, pause_s: float) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            await asyncio.to_thread(self._next)
            await asyncio.sleep(pause_s)

    def _next(self) -> None:
        self.count += 1
        match self.count % 4:
            case 0:
                self._publish(broken=False)
                self._expect(NEGATE, "load", 200)
            case 1:
                version = self._publish(broken=True)
                self._expect(NEGATE, "load", 503)
                shutil.rmtree(self._repository / NEGATE / str(version))
            case 2:
                self._expect(VISITOR, "load", 200)
            case 3:
                self._expect(VISITOR, "unload", 200)

    def _publish(self, *, broken: bool) -> int:
        folder = self._repository / NEGATE
        versions = [int(each.name) for each in folder.iterdir() if each.name.isdecimal()]
        made = folder / ".next"
        shutil.copytree(folder / str(max(versions)), made)
        if broken:
            (made / "model.onnx").write_bytes(b"this is no graph")
        made.rename(folder / str(max(versions) + 1))
        for old in sorted(versions)[:-3]:
            shutil.rmtree(folder / str(old))
        return max(versions) + 1

    def _expect(self, model: str, what: str, status: int) -> None:
        found = call(self._address, f"/v2/repository/models/{model}/{what}")
        if found != status:
            self.surprises.append(f"{what} {model}: {found}, not {status}")


def prepared(folder: Path, into: Path) -> Path:
    """A repository of the shipped models, the small network, and two that change."""
    make(folder / "models")
    repository = into / "models"
    shutil.copytree(SHIPPED, repository)
    shutil.copytree(folder / "models" / "resnet18", repository / "resnet18")
    write_negate(repository / NEGATE)
    shutil.copytree(folder / "models" / "resnet18", repository / VISITOR)
    config = (repository / VISITOR / "config.pbtxt").read_text().replace("resnet18", VISITOR)
    (repository / VISITOR / "config.pbtxt").write_text(config)
    for card in (repository / VISITOR).glob("*/card.json"):
        card.write_text(card.read_text().replace("resnet18", VISITOR))
    return repository


async def both(address: str, asks: list[Ask], rate: float, changes: Changes) -> Outcome:
    changing = asyncio.create_task(changes.run(SLICE_S - 5, 2.0))
    outcome = await opened(address, asks, rate, SLICE_S, seed=changes.count)
    await changing
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--folder", type=Path, default=Path("build/bench"))
    parser.add_argument("--out", type=Path, default=Path("build/bench/soak.csv"))
    parser.add_argument("--flags", default="", help="of kokeshi serve, with spaces")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, asked.out.open("w", newline="") as table:
        repository = prepared(asked.folder, Path(scratch))
        flags = ["--model-control", "explicit", "--load-models", "*", *asked.flags.split()]
        rows = csv.writer(table)
        rows.writerow(["minute", "rate", "p50_ms", "p99_ms", "wrong", "refused", "failed",
                       "changes", "resident_mib"])  # fmt: skip
        with kokeshi_server.running(repository, *flags) as server:
            asks = asks_for(server.http)
            full = run(closed(server.http, asks, CLIENTS, 15.0))
            print("saturated", full.told(), flush=True)
            changes = Changes(repository, server.http)
            started_s, bad = time.monotonic(), 0
            while time.monotonic() - started_s < 60 * asked.minutes:
                one = run(both(server.http, asks, SHARE * full.rate, changes))
                bad += one.wrong + one.refused + one.failed
                minute = (time.monotonic() - started_s) / 60
                memory = resident_mib(server.process)
                rows.writerow([f"{minute:.1f}", f"{one.rate:.1f}", f"{one.percentile_ms(50):.1f}",
                               f"{one.percentile_ms(99):.1f}", one.wrong, one.refused, one.failed,
                               changes.count, f"{memory:.1f}"])  # fmt: skip
                table.flush()
                print(f"{minute:5.1f} min {memory:7.1f} MiB {changes.count} changes", one.told(),
                      flush=True)  # fmt: skip
        if bad or changes.surprises:
            raise SystemExit(f"{bad} requests not answered rightly; {changes.surprises}")


if __name__ == "__main__":
    main()

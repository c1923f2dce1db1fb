"""Triton with Python pre-processing: an ensemble of a Python model that decodes, and the graph."""

import asyncio
import json
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from load import Ask, post
from peers import APPS, UV

BATCH = 8
PREPARE = """
name: "prepare"
backend: "python"
max_batch_size: {batch}
input {{ name: "jpeg" data_type: TYPE_STRING dims: [1] }}
output {{ name: "image" data_type: TYPE_UINT8 dims: [224, 224, 3] }}
instance_group {{ kind: KIND_CPU count: 2 }}
parameters {{ key: "PACKAGES" value {{ string_value: "{packages}" }} }}
parameters {{ key: "APPS" value {{ string_value: "{apps}" }} }}
"""
ENSEMBLE = """
name: "jpeg"
platform: "ensemble"
max_batch_size: {batch}
input {{ name: "jpeg" data_type: TYPE_STRING dims: [1] }}
output {{ name: "probabilities" data_type: TYPE_FP32 dims: [1000] }}
ensemble_scheduling {{
  step {{
    model_name: "prepare" model_version: -1
    input_map {{ key: "jpeg" value: "jpeg" }} output_map {{ key: "image" value: "pixels" }}
  }}
  step {{
    model_name: "{model}" model_version: -1
    input_map {{ key: "image" value: "pixels" }}
    output_map {{ key: "probabilities" value: "probabilities" }}
  }}
}}
"""


def lay_out(repository: Path, models: Path, model: str, environments: Path) -> None:
    """Writes the three models."""
    packages = environments / "triton_packages"
    if not packages.exists():
        python = shutil.which("python3.11") or "3.11"
        command = [UV, "pip", "install", "--quiet", "--no-deps", "--python", python]
        subprocess.run([*command, "--target", packages, "pillow"], check=True)
    shutil.copytree(models / model, repository / model)
    config = repository / model / "config.pbtxt"
    config.write_text(config.read_text() + "\ninstance_group { kind: KIND_CPU count: 1 }\n")
    (repository / "prepare" / "1").mkdir(parents=True)
    shutil.copy(APPS / "prepare_model.py", repository / "prepare" / "1" / "model.py")
    values = {"batch": BATCH, "packages": packages.absolute(), "apps": APPS, "model": model}
    (repository / "prepare" / "config.pbtxt").write_text(PREPARE.format(**values))
    (repository / "jpeg" / "1").mkdir(parents=True)
    (repository / "jpeg" / "config.pbtxt").write_text(ENSEMBLE.format(**values))


@contextmanager
def running(repository: Path, port: int, threads: int) -> Iterator[psutil.Process]:
    """A local Triton with its HTTP door at a port; yields this process, whose child it is."""
    from kokeshi.engines.triton.installation import default_folder, find_tritonserver
    from kokeshi.engines.triton.local import LocalTriton

    server = LocalTriton(
        find_tritonserver(default_folder()),
        repository,
        threads=threads,
        flags=("--allow-http=true", "--http-address=127.0.0.1", f"--http-port={port}"),
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result()
    try:
        yield psutil.Process()
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def ask(picture: bytes, label: int) -> Ask:
    """A binary KServe request for the best class of one picture."""
    tensor = struct.pack("<I", len(picture)) + picture
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": "jpeg",
                    "shape": [1, 1],
                    "datatype": "BYTES",
                    "parameters": {"binary_data_size": len(tensor)},
                }
            ],
            "outputs": [
                {"name": "probabilities", "parameters": {"classification": 1, "binary_data": False}}
            ],
        }
    ).encode()
    headers = [
        ("inference-header-content-length", str(len(header))),
        ("content-type", "application/octet-stream"),
    ]
    wire = post("triton", "/v2/models/jpeg/infer", header + tensor, headers)
    return Ask(wire, lambda body: _label(body) == label)


def _label(body: bytes) -> int:
    return int(json.loads(body)["outputs"][0]["data"][0].split(":")[1])

"""`kokeshi serve` as a process: what it imports, what settings do, how it fails and ends."""

import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from kokeshi.gateway.client import Client


def test_serving_imports_nothing_of_the_exporter(run, server, make_picture, tmp_path):
    (tmp_path / "red.png").write_bytes(make_picture("red"))
    run("index", "create", "imports", "--model", "colours")
    run("index", "add", "imports", "red.png")
    run("search", "imports", "red.png")
    run("classify", "pair", "red.png", "--label", "red", "--label", "blue")
    imported = set(re.findall(r"import time:.*\| +(\S+)\n", server.log.read_text()))
    assert {"kokeshi.engines.embedded", "onnxruntime", "tokenizers"} <= imported
    exporting = {"torch", "torchvision", "timm", "onnx", "open_clip", "sklearn", "skimage", "scipy"}
    assert not exporting & {name.partition(".")[0] for name in imported}


def test_both_doors_answer(server):
    with urllib.request.urlopen(f"http://{server.http}/v1/health/ready", timeout=10) as answer:
        assert answer.status == 200
    with Client(server.grpc) as client:
        assert client.info().engine == "embedded"


def test_flags_and_variables_reach_the_server_and_a_signal_ends_it(start_server, tmp_path):
    variables = {"KOKESHI_MAX_K": "17", "KOKESHI_LOG_FORMAT": "json", "KOKESHI_MAX_INPUTS": "9"}
    server = start_server(tmp_path, "--max-inputs", "5", "--threads", "1", **variables)
    with Client(server.grpc) as client:
        limits = client.info().limits
    assert (limits.max_k, limits.max_inputs) == (17, 5)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=20) == 0
    lines = server.log.read_text().splitlines()
    assert lines
    assert all(line.startswith("{") for line in lines)


def test_one_data_folder_serves_one_server(start_server, tmp_path, offline, tiny_repository):
    server = start_server(tmp_path)
    told = failing("--data", tmp_path / "data", "--repository", tiny_repository)
    holder = f"process {server.process.pid} on {socket.gethostname()}"
    assert told == f"kokeshi: error: data directory {tmp_path / 'data'} is in use by {holder}"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--repository", "absent"], "model repository 'absent' is not a folder"),
        (["--http", "127.0.0.1"], "setting 'http' (flag --http) cannot be '127.0.0.1': expected"),
        (["--http", "198.51.100.1:1"], "cannot listen on http address 198.51.100.1:1"),
    ],
)
def test_what_keeps_it_from_serving_is_one_line(tmp_path, flags, told):
    (tmp_path / "model_repository").mkdir()
    assert failing("--data", "data", *flags).startswith(f"kokeshi: error: {told}")


def failing(*flags):
    """The last line that `kokeshi serve` wrote before it failed."""
    free = ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
    command = [sys.executable, "-m", "kokeshi", "serve", *free, *map(str, flags)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]

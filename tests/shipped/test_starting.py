"""The server starts fast, without torch, and ends when it is told."""

import subprocess
import sys
import time
import urllib.request

import psutil

from kokeshi.v1 import server_pb2


def test_serving_imports_neither_torch_nor_a_method(server):
    maps = psutil.Process(server.process.pid).memory_maps()
    loaded = {entry.path for entry in maps}
    assert any("onnxruntime" in path for path in loaded)
    assert not [path for path in loaded if "/torch/" in path or "torchvision" in path]


def test_every_shipped_model_is_ready(server):
    models = server.server.ListModels(server_pb2.ListModelsRequest()).models
    assert {model.name: model.state for model in models} == {
        "digits": "ready",
        "digits_mrl": "ready",
        "digit_scenes": "ready",
    }
    assert all(model.trained for model in models)
    with urllib.request.urlopen(f"http://{server.http}/v1/health/ready") as answer:
        assert answer.status == 200


def test_metrics_see_the_requests(server):
    server.server.GetServerInfo(server_pb2.GetServerInfoRequest())
    with urllib.request.urlopen(f"http://{server.http}/metrics") as answer:
        text = answer.read().decode()
    assert 'kokeshi_requests_total{call="GetServerInfo",code="OK",door="grpc"}' in text
    assert 'kokeshi_model_ready{model="digits",version="1"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_help_is_quick():
    started_s = time.monotonic()
    subprocess.run([sys.executable, "-m", "kokeshi", "--help"], check=True, capture_output=True)
    assert time.monotonic() - started_s < 10  # a hang, not a benchmark

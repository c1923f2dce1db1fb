"""Servers that go, hang, come back, and are reached in every way there is."""

import asyncio
import subprocess

import grpc
import numpy as np
import pytest

from kokeshi.engines.protocol import Request, State
from kokeshi.engines.triton.remote import TritonEngine
from kokeshi.engines.triton.target import TlsFiles
from kokeshi.errors import (
    ModelNotFoundError,
    SetupError,
    UnavailableError,
)

PIXELS = np.full((2, 8, 8, 3), [255, 0, 0], np.uint8)
RED = Request("colours", {"image": PIXELS})


async def test_a_server_that_is_gone_turns_its_models_red_and_is_found_again(lab):
    server = lab.serve()
    engine = await lab.connect(server, watch_s=0.5)
    server.stop()
    await lab.until(lambda: lab.status(engine, "colours").state is State.FAILED)
    reason = lab.status(engine, "colours").reason
    assert reason.startswith("the Triton server does not answer: ")
    assert "127.0.0.1" not in reason
    assert list(engine.troubles()) == [server.address]
    with pytest.raises(UnavailableError, match="'colours' is failed: the Triton server does not"):
        await engine.infer(RED)
    server.start()
    await lab.until(lambda: lab.status(engine, "colours").state is State.READY, within_s=4)
    await engine.infer(RED)
    assert engine.troubles() == {}


async def test_a_server_may_come_after_the_gateway(lab):
    server = lab.serve()
    server.stop()
    engine = await lab.connect(server)
    assert list(engine.models()) == []
    with pytest.raises(ModelNotFoundError):
        await engine.infer(RED)
    server.start()
    await lab.until(lambda: lab.status(engine, "colours") is not None, within_s=4)
    await engine.infer(RED)


async def test_a_server_that_hangs_is_gone_unless_it_answers_requests(lab):
    server = lab.serve()
    engine = await lab.connect(server, answer_timeout_s=0.2)
    server.slow_index_s = 1.0
    for _ in range(20):
        await engine.infer(RED)
        await asyncio.sleep(0.05)
        assert lab.status(engine, "colours").state is State.READY
    await lab.until(lambda: lab.status(engine, "colours").state is State.FAILED)
    assert lab.status(engine, "colours").reason.endswith("no answer in time")
    await lab.until(lambda: not engine._peers[0].hesitates)
    with pytest.raises(UnavailableError, match="no answer in time"):
        await engine.infer(RED)
    server.slow_index_s = 0.0
    await lab.until(lambda: lab.status(engine, "colours").state is State.READY, within_s=3)


async def test_a_server_that_is_late_once_is_red_and_asked_all_the_same(lab):
    server = lab.serve()
    engine = await lab.connect(server, answer_timeout_s=0.3)
    server.slow_index_s = 0.4
    await lab.until(lambda: engine._peers[0].hesitates)
    assert lab.status(engine, "colours").state is State.FAILED
    await engine.infer(RED)
    server.slow_index_s = 0.0
    await lab.until(lambda: lab.status(engine, "colours").state is State.READY)


async def test_a_server_on_a_socket_is_reached(lab, tmp_path):
    place = f"unix:{tmp_path}/triton.sock"
    lab.serve(address=place)
    engine = await lab.connect(place)
    await engine.infer(RED)


@pytest.fixture
def certificate(tmp_path):
    """A certificate for localhost that vouches for itself, and its key."""
    key, pem = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, *name, "-keyout", key, "-out", pem], check=True, capture_output=True)
    return key, pem


async def test_a_server_with_tls_is_reached_and_a_stranger_is_not(lab, certificate):
    key, pem = certificate
    pair = [(key.read_bytes(), pem.read_bytes())]
    server = lab.serve(credentials=grpc.ssl_server_credentials(pair))
    engine = await lab.connect(f"localhost:{server.port}", tls=TlsFiles(ca=pem))
    await engine.infer(RED)
    await asyncio.to_thread(engine.infer_now, RED)
    strange = await lab.connect(f"localhost:{server.port}", tls=TlsFiles())
    assert list(strange.models()) == []
    assert strange.troubles()


async def test_tls_files_that_are_missing_stop_the_start(tmp_path):
    engine = TritonEngine(["localhost:1"], tls=TlsFiles(ca=tmp_path / "none.pem"))
    with pytest.raises(SetupError, match="cannot be read"):
        await engine.start()

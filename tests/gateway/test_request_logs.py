"""One line per request, in either format, without bodies."""

import io
import json
import logging

import pytest

from kokeshi.gateway import logs


@pytest.fixture
def written(monkeypatch):
    """Logs configured to a buffer; what was configured before comes back afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    buffer = io.StringIO()

    def configure(format, level="INFO"):
        logs.configure(format, level, buffer)
        return buffer

    root.handlers = []  # pytest's own handlers must not be closed
    monkeypatch.setattr(logging.getLogger("httpx"), "disabled", True)  # the client's lines
    yield configure
    root.handlers, root.level = before


async def test_json_lines_tell_the_request(both, written, make_picture):
    buffer = written("json")
    await both.http.post(
        "/v1/models/colours/classify",
        files={"image": make_picture("red")},
        headers={"x-request-id": "mine"},
    )
    line = json.loads(buffer.getvalue())
    assert line.pop("duration_ms") > 0
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "logger": "kokeshi.requests",
        "message": "request",
        "request_id": "mine",
        "door": "http",
        "call": "Classify",
        "code": "OK",
        "model": "colours",
    }


async def test_a_bug_is_logged_with_traceback_under_the_request_id(both, written):
    class Broken(type(both.service)):
        def models(self):
            raise RuntimeError("secret")

    both.service.__class__ = Broken
    buffer = written("json")
    await both.http.get("/v1/models", headers={"x-request-id": "mine"})
    bug, request = map(json.loads, buffer.getvalue().splitlines())
    assert "RuntimeError: secret" in bug["traceback"]
    assert (bug["request_id"], request["request_id"]) == ("mine", "mine")
    assert (request["call"], request["code"]) == ("ListModels", "INTERNAL")


async def test_text_lines_cannot_be_forged(both, written):
    buffer = written("text")
    await both.http.get("/v1/models/a%0Adoor=forged%20b")
    (line,) = buffer.getvalue().splitlines()
    assert r"model='a\ndoor=forged b'" in line
    assert "code=NOT_FOUND" in line


async def test_probes_are_logged_for_debugging_alone(both, written):
    buffer = written("text")
    await both.http.get("/v1/health/live")
    await both.http.get("/metrics")
    assert buffer.getvalue() == ""
    buffer = written("text", "debug")
    await both.http.get("/v1/health/live")
    assert "call=HealthLive" in buffer.getvalue()


async def test_a_long_name_of_a_model_is_cut_in_the_log(both, written):
    buffer = written("json")
    await both.http.get(f"/v1/models/{'m' * 5_000}")
    assert json.loads(buffer.getvalue())["model"] == "m" * 128

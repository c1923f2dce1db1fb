"""The table of bad inputs in docs/api.md, asked at both doors of a real server.

`pytest tests/shipped/test_bad_inputs.py --update-tables` rewrites it from the answers.
"""

import io
import json
import re
import struct
import urllib.error
import urllib.request
import zlib
from base64 import b64encode
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from PIL import Image

from kokeshi.v1 import collections_pb2 as c
from kokeshi.v1 import inputs_pb2 as i
from kokeshi.v1 import server_pb2 as s
from kokeshi.v1 import vision_pb2 as v

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "api.md"
SEVEN = (ROOT / "docs" / "demo" / "seven.png").read_bytes()
BEGIN, END = "<!-- bad inputs -->\n", "<!-- end of bad inputs -->"


def _png_header(width, height):
    """A PNG that says it is huge; 57 bytes."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _truncated_jpeg():
    buffer = io.BytesIO()
    Image.open(io.BytesIO(SEVEN)).resize((400, 400)).save(buffer, "JPEG")
    return buffer.getvalue()[:2000]


def _image(data):
    return i.Input(image=i.Image(data=data))


def _vector(values):
    data = np.array(values, "<f4")
    kind = i.Tensor.DATA_TYPE_FLOAT32
    return i.Input(tensor=i.Tensor(data_type=kind, shape=[len(data)], data=data.tobytes()))


def _json_vector(values):
    data = np.array(values, "<f4").tobytes()
    encoded = b64encode(data).decode()
    return {"tensor": {"data_type": "float32", "shape": [len(values)], "data": encoded}}


def _classify(data=SEVEN, model="digits", **options):
    request = v.ClassifyRequest(model=model, inputs=[_image(data)], **options)
    body = {"inputs": [{"image": b64encode(data).decode()}], **options}
    return ("vision", "Classify", request), ("POST", f"/v1/models/{model}/classify", body)


def _embed(**options):
    request = v.EmbedRequest(model="digits_mrl", inputs=[_image(SEVEN)], **options)
    body = {"inputs": [{"image": b64encode(SEVEN).decode()}], **options}
    return ("vision", "Embed", request), ("POST", "/v1/models/digits_mrl/embed", body)


def _search(query, json_query, **options):
    request = c.SearchRequest(collection="bad", queries=[query], **options)
    body = {"queries": [json_query], **options}
    return ("collections", "Search", request), ("POST", "/v1/collections/bad/search", body)


def _add(item, json_item, **options):
    request = c.AddItemsRequest(collection="bad", items=[item], **options)
    body = {"items": [json_item], **options}
    return ("collections", "AddItems", request), ("POST", "/v1/collections/bad/items", body)


def _cases(space):
    seven = {"image": b64encode(SEVEN).decode()}
    unit = [1.0] + [0.0] * 63
    nan = [float("nan")] * 64
    big = b"\0" * (65 * 2**20)
    kept = {"id": "kept", "input": seven}
    return {
        "empty image": _classify(b""),
        "text as an image": _classify(b"this is a text"),
        "truncated JPEG": _classify(_truncated_jpeg()),
        "PNG header of 60,000 x 60,000": _classify(_png_header(60_000, 60_000)),
        "wrong task": _classify(model="digit_scenes"),
        "unknown model": _classify(model="nothing"),
        "top_k of 0": _classify(top_k=0),
        "top_k of a million": _classify(top_k=1_000_000),
        "dimension not trained": _embed(dimension=7),
        "k of 0": _search(_image(SEVEN), seven, k=0),
        "k of a million": _search(_image(SEVEN), seven, k=1_000_000),
        "vector of another space": _search(
            _vector(unit), _json_vector(unit), space="0123456789abcdef"
        ),
        "vector of no space": _search(_vector(unit), _json_vector(unit)),
        "NaN vector": _search(_vector(nan), _json_vector(nan), space=space),
        "vector of another length": _search(_vector([1.0]), _json_vector([1.0]), space=space),
        "id that exists": _add(c.NewItem(id="kept", input=_image(SEVEN)), kept),
        "unknown collection": (
            ("collections", "DescribeCollection", c.DescribeCollectionRequest(name="none")),
            ("GET", "/v1/collections/none", None),
        ),
        "unknown item": (
            ("collections", "GetItems", c.GetItemsRequest(collection="bad", ids=["none"])),
            ("POST", "/v1/collections/bad/items/get", {"ids": ["none"]}),
        ),
        "collection that exists": (
            (
                "collections",
                "CreateCollection",
                c.CreateCollectionRequest(name="bad", model="digits"),
            ),
            ("POST", "/v1/collections", {"name": "bad", "model": "digits"}),
        ),
        "name that is none": (
            (
                "collections",
                "CreateCollection",
                c.CreateCollectionRequest(name="../etc", model="digits"),
            ),
            ("POST", "/v1/collections", {"name": "../etc", "model": "digits"}),
        ),
        "body over the limit": _classify(big),
    }


@pytest.fixture(scope="module")
def space(server):
    request = c.CreateCollectionRequest(name="bad", model="digits_mrl")
    made = server.collections.CreateCollection(request)
    item = c.NewItem(id="kept", input=_image(SEVEN), metadata_json='{"is": "kept"}')
    server.collections.AddItems(c.AddItemsRequest(collection="bad", items=[item]))
    return made.space


def _ask_grpc(server, stub, call, request):
    try:
        getattr(getattr(server, stub), call)(request)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "OK", ""


def _ask_http(server, method, path, body, content_type="application/json"):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{server.http}{path}", data, method=method)
    request.add_header("Content-Type", content_type)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())["error"]["message"]
    except (urllib.error.URLError, ConnectionError):  # refused before it was read to its end
        return 413, ""


def _answers(server, space):
    rows = {}
    for name, (by_grpc, by_http) in _cases(space).items():
        code, message = _ask_grpc(server, *by_grpc)
        status, told = _ask_http(server, *by_http)
        rows[name] = (code, str(status), message, told)
    return rows


@pytest.fixture(scope="module")
def answers(server, space):
    return _answers(server, space)


def _row(name, answer):
    code, status, message, _ = answer
    told = re.sub(r"'[0-9a-f]{16}'", "'…'", message).replace("|", "\\|")
    return f"| {name} | {code} | {status} | {told} |"


def test_the_table_in_the_documentation_is_what_both_doors_answer(answers, request):
    rows = "".join(f"{_row(name, answer)}\n" for name, answer in answers.items())
    head = "| input | gRPC | HTTP | message |\n|---|---|---|---|\n"
    before, rest = PAGE.read_text().split(BEGIN)
    table, after = rest.split(END)
    if request.config.getoption("--update-tables"):
        PAGE.write_text(f"{before}{BEGIN}{head}{rows}{END}{after}")
        return
    assert table == head + rows


def test_both_doors_say_the_same(answers):
    for name, (code, _, message, told) in answers.items():
        assert code != "OK", name
        if name != "body over the limit":  # each protocol's own words
            assert told.endswith(message), name  # HTTP may say where in the JSON


def test_no_answer_leaks_a_path_or_a_traceback(answers):
    for _, _, *messages in answers.values():
        for message in messages:
            assert not re.search(
                r"Traceback|File \"|\.py\b|/home|/root|/tmp|site-packages", message
            )


def test_a_wrong_content_type_is_refused(server):
    path = "/v1/models/digits/classify"
    status, message = _ask_http(server, "POST", path, {}, content_type="text/csv")
    assert status == 400
    assert "text/csv" in message


def test_the_server_lives_and_nothing_stored_was_lost(server, answers):
    assert server.process.poll() is None
    resident = psutil.Process(server.process.pid).memory_info().rss
    assert resident < 2**30
    request = c.GetItemsRequest(collection="bad", ids=["kept"])
    (item,) = server.collections.GetItems(request).items
    assert json.loads(item.metadata_json) == {"is": "kept"}
    info = server.server.GetServerInfo(s.GetServerInfoRequest())
    assert info.name == "kokeshi"

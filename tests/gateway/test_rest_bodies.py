"""What REST takes as a body, and what it refuses."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest

from kokeshi.gateway.aside import LARGE_BYTES

CLASSIFY = "/v1/models/colours/classify"
STREAM = "/v1/collections/things/items/stream"
NDJSON = {"content-type": "application/x-ndjson"}


def names(response):
    assert response.status_code == 200, response.text
    return [result["labels"][0]["name"] for result in response.json()["results"]]


def message(response, status=400, code="INVALID_ARGUMENT"):
    assert response.status_code == status, response.text
    assert response.json()["error"]["code"] == code
    return response.json()["error"]["message"]


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def test_a_form_takes_files_and_options(both, make_picture):
    response = await both.http.post(
        CLASSIFY,
        files=[("image", ("a.png", make_picture("red"))), ("image", make_picture("blue"))],
        data={"top_k": "1"},
    )
    assert names(response) == ["red", "blue"]
    assert [len(result["labels"]) for result in response.json()["results"]] == [1, 1]


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "IMAGE/PNG; a=b"])
async def test_a_raw_body_is_one_image_with_options_in_the_query(both, make_picture, kind):
    response = await both.http.post(
        f"{CLASSIFY}?top_k=2", content=make_picture("green"), headers={"content-type": kind}
    )
    assert names(response) == ["green"]
    assert len(response.json()["results"][0]["labels"]) == 2


async def test_json_takes_data_uris_and_tensors(both, make_picture):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[..., 2] = 255
    tensor = {"data_type": "uint8", "shape": [8, 8, 3], "data": encoded(pixels.tobytes())}
    for inputs, expected in (
        ([{"image": f"data:image/png;base64,{encoded(make_picture('red'))}"}], ["red"]),
        ([{"tensor": tensor}], ["blue"]),
    ):
        assert names(await both.http.post(CLASSIFY, json={"inputs": inputs})) == expected


async def test_a_form_compares_left_with_right(both, make_picture):
    left, right = make_picture("red"), make_picture("red", format="JPEG")
    path = "/v1/models/colours/compare"
    response = await both.http.post(path, files={"left": left, "right": right})
    assert response.json()["verdict"] == "same"
    said = message(await both.http.post(path, files={"left": left}))
    assert "one `left` and one `right`" in said
    # a plain field is a text, so two towers compare a picture with words
    path = "/v1/models/pair/compare"
    response = await both.http.post(path, files={"left": left}, data={"right": "red"})
    assert response.json()["similarity"] > 0.5
    body = {"content": left, "headers": {"content-type": "image/png"}}
    assert "application/json, multipart/form-data" in message(await both.http.post(path, **body))


async def test_a_form_takes_texts(both):
    response = await both.http.post(
        "/v1/models/pair/embed",
        files=[("text", (None, "red")), ("text", (None, "green")), ("normalised", (None, "true"))],
    )
    assert response.status_code == 200, response.text
    assert len(response.json()["vectors"]) == 2


async def test_a_single_mask_is_answered_as_png_where_that_is_accepted(both, make_picture):
    picture = make_picture("green")
    for model in ("regions", "glow"):
        answer = await both.http.post(
            f"/v1/models/{model}/segment", files={"image": picture}, headers={"accept": "image/png"}
        )
        assert answer.headers["content-type"] == "image/png"
        assert answer.content.startswith(b"\x89PNG")
    both_accepted = {"accept": "image/png, application/json"}
    answer = await both.http.post(
        "/v1/models/regions/segment", files={"image": picture}, headers=both_accepted
    )
    assert base64.b64decode(answer.json()["results"][0]["label_map_png"]).startswith(b"\x89PNG")
    two = await both.http.post(
        "/v1/models/regions/segment",
        files=[("image", picture), ("image", picture)],
        headers={"accept": "image/png"},
    )
    assert "one image" in message(two)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"inputs": [], "threshold": NaN}', "not valid JSON"),
        (b"[]", "the body is a JSON object, not a list"),
        (b"{}", "field 'inputs' is required"),
        (b'{"inputs": {}}', "inputs"),
        (b'{"inputs": [], "top_k": "5"}', "top_k: input should be a valid integer, not '5'"),
        (b'{"inputs": [], "top_k": 1.5}', "top_k"),
        (b'{"inputs": [], "top_k": -1}', "top_k"),
        (b'{"inputs": [], "top_k": true}', "top_k"),
        (b'{"inputs": [], "topk": 5}', "field 'topk' is unknown; did you mean 'top_k'"),
        (b'{"inputs": [5]}', "inputs.0 is a JSON object, not 5"),
        (b'{"inputs": [{"image": 5}]}', "inputs.0.image"),
        (b'{"inputs": [{"image": "%%%"}]}', "inputs[0]: the image is not valid base64"),
        (b'{"inputs": [{"image": "https://example.org/a.png"}]}', "not linked"),
        (b'{"inputs": [{"image": "", "text": ""}]}', "not image and text"),
        (b'{"inputs": [{"tensor": {}}]}', "either data or values"),
        (b'{"inputs": [{"tensor": {"data_type": "bool", "data": ""}}]}', "not 'bool'"),
        (
            b'{"inputs": [{"tensor": {"data_type": "uint8", "shape": [0], "data": ""}}]}',
            "positive",
        ),
    ],
)
async def test_bad_json_is_refused_with_its_place(both, content, told):
    response = await both.http.post(
        CLASSIFY, content=content, headers={"content-type": "application/json"}
    )
    assert told in message(response)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded"])
async def test_other_content_types_are_refused_with_those_accepted(both, kind):
    headers = {"content-type": kind} if kind else {}
    response = await both.http.post(CLASSIFY, content=b"a=b", headers=headers)
    assert "application/json, multipart/form-data, image/*" in message(response)


async def test_a_query_beside_a_json_body_is_refused(both):
    response = await both.http.post(f"{CLASSIFY}?top_k=1", json={"inputs": []})
    assert "'top_k'" in message(response)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([("file", ("a.png", b"x"))], "image files are fields 'image'"),
        ([("image", (None, "x"))], "field 'image' is a file, not a text"),
        ([("top_k", (None, "1")), ("top_k", (None, "2"))], "field 'top_k' is there twice"),
        ([("top_k", (None, "one"))], "top_k"),
        ([("threshold", (None, "nan"))], "threshold"),
    ],
)
async def test_bad_forms_are_refused(both, make_picture, parts, told):
    files = [("image", ("a.png", make_picture("red"))), *parts]
    assert told in message(await both.http.post(CLASSIFY, files=files))


async def test_a_field_of_a_form_that_is_empty_was_not_filled_in(both, make_picture):
    empty = [(name, (None, "")) for name in ("text", "top_k", "labels")]
    files = [("image", ("a.png", make_picture("red"))), *empty]
    answer = await both.http.post(CLASSIFY, files=files)
    plain = await both.http.post(CLASSIFY, files=files[:1])
    assert answer.status_code == 200
    assert answer.json() == plain.json()


async def test_metadata_of_a_form_are_named_where_they_are_no_json(both, make_picture):
    files = [("image", ("a.png", make_picture("red"))), ("metadata", (None, "{"))]
    response = await both.http.post("/v1/collections/any/items", files=files)
    assert "the metadata is not valid JSON" in message(response)


async def test_a_query_is_refused_in_the_words_of_every_option(both):
    path = "/v1/collections/any/items"
    assert message(await both.http.get(f"{path}?foo=1")) == "field 'foo' is unknown"
    told = message(await both.http.get(f"{path}?page_size=x"))
    assert told.startswith("page_size: input should be a valid integer")
    assert told.endswith("not 'x'")


async def test_the_methods_of_all_routes_of_a_path_are_allowed(both):
    response = await both.http.put("/v1/collections/any")
    assert message(response, 405) == "method PUT is not allowed here"
    assert response.headers["allow"] == "GET, DELETE"


async def test_a_broken_form_is_refused(both):
    for kind in ("multipart/form-data", "multipart/form-data; boundary=b"):
        response = await both.http.post(CLASSIFY, content=b"x", headers={"content-type": kind})
        assert "the form cannot be read" in message(response)


def a_form(body: bytes) -> bytes:
    head = b'--b\r\ncontent-disposition: form-data; name="image"; filename="a"\r\n\r\n'
    return head + body + b"\r\n--b--\r\n"


@pytest.mark.parametrize(
    "kind", ["application/json", "image/png", "multipart/form-data; boundary=b"]
)
async def test_a_body_without_a_length_is_refused_while_it_comes(both, kind):
    both.service.limits = replace(both.service.limits, max_request_bytes=100_000)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield a_form(b"")[:70]
        while sent < 10_000_000:
            sent += 10_000
            yield b"x" * 10_000

    response = await both.http.post(CLASSIFY, content=endless(), headers={"content-type": kind})
    assert message(response, 413, "RESOURCE_EXHAUSTED") == "a request has at most 100000 bytes"
    # httpx's transport hands over one chunk at a time: no more were read than fit
    assert sent <= 110_000


async def test_an_announced_length_over_the_limit_is_refused_unread(both):
    both.service.limits = replace(both.service.limits, max_request_bytes=1000)

    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    headers = {"content-type": "image/png", "content-length": "1001"}
    response = await both.http.post(CLASSIFY, content=unread(), headers=headers)
    message(response, 413, "RESOURCE_EXHAUSTED")


async def test_too_many_files_are_refused_by_the_limit_of_inputs(both, make_picture):
    picture = make_picture("red")
    count = both.service.limits.max_inputs + 1
    files = [("image", picture)] * count
    assert f"1 to {count - 1} inputs" in message(await both.http.post(CLASSIFY, files=files))
    files.append(("image", picture))
    assert "too many files" in message(await both.http.post(CLASSIFY, files=files)).lower()


async def test_unknown_paths_and_methods_have_the_shape_of_every_error(both):
    assert message(await both.http.get("/v1/nothing"), 404, "NOT_FOUND") == "no such path"
    response = await both.http.put("/v1/models")
    assert message(response, 405) == "method PUT is not allowed here"
    assert response.headers["allow"] == "GET"
    said = message(await both.http.get("/v1/models/colours?version=one"))
    assert said.startswith("version: ")


@pytest.fixture
async def things(both):
    response = await both.http.post("/v1/collections", json={"name": "things", "model": "colours"})
    assert response.status_code == 201
    return response.json()


async def test_a_form_adds_files_under_their_names(both, things, make_picture):
    files = [("image", ("a.png", make_picture("red"))), ("image", ("b.png", make_picture("blue")))]
    answer = await both.http.post("/v1/collections/things/items", files=files)
    assert answer.json()["count"] == 2, answer.text
    files += [("id", (None, "a")), ("id", (None, "b")), ("metadata", (None, '{"n": 1}'))]
    said = message(await both.http.post("/v1/collections/things/items", files=files))
    assert "2 inputs need as many ids, not 2, and as many metadata or none, not 1" in said
    files.append(("metadata", (None, "{}")))
    assert (await both.http.post("/v1/collections/things/items", files=files)).status_code == 200
    page = (await both.http.get("/v1/collections/things/items")).json()
    assert [item["id"] for item in page["items"]] == ["a.png", "b.png", "a", "b"]
    assert page["items"][2]["metadata"] == {"n": 1}
    found = await both.http.post(
        "/v1/collections/things/search?k=1",
        content=make_picture("blue"),
        headers={"content-type": "image/png"},
    )
    assert found.json()["results"][0]["hits"][0]["id"] in {"b", "b.png"}


async def test_a_raw_body_adds_one_item(both, things, make_picture):
    path = "/v1/collections/things/items"
    query = {"id": "r", "metadata": '{"n": 1}'}
    answer = await both.http.post(
        path, params=query, content=make_picture("red"), headers={"content-type": "image/png"}
    )
    assert answer.json()["count"] == 1, answer.text
    assert (await both.http.get(f"{path}/r")).json()["metadata"] == {"n": 1}


def line(id_, data):
    return json.dumps({"id": id_, "input": {"image": encoded(data)}}).encode() + b"\n"


async def test_a_stream_adds_line_after_line(both, things, make_picture):
    picture = make_picture("red")
    lines = b"\n".join(line(str(i), picture) for i in range(100)).rstrip()

    async def bits() -> AsyncIterator[bytes]:
        for start in range(0, len(lines), 1000):
            yield lines[start : start + 1000]

    answer = await both.http.post(f"{STREAM}?request_id=r", content=bits(), headers=NDJSON)
    assert answer.json()["count"] == 100, answer.text
    # a retry with the same request id stores nothing twice
    again = await both.http.post(f"{STREAM}?request_id=r", content=lines, headers=NDJSON)
    assert again.json() == answer.json()
    assert (await both.http.get("/v1/collections/things")).json()["count"] == 100


async def test_a_stream_that_fails_says_how_many_items_are_stored(both, things, make_picture):
    picture = make_picture("red")
    lines = b"".join(line(str(i), picture) for i in range(70)) + b'{"id": 1}\n'
    said = message(await both.http.post(STREAM, content=lines, headers=NDJSON))
    assert said.startswith("after 64 stored items: line 71: ")
    assert (await both.http.get("/v1/collections/things")).json()["count"] == 64


async def test_a_stream_has_no_limit_but_each_line_has(both, things, make_picture):
    picture = make_picture("red")
    both.service.limits = replace(both.service.limits, max_request_bytes=1000)
    lines = b"".join(line(str(i), picture) for i in range(20))
    assert len(lines) > 1000
    answer = await both.http.post(STREAM, content=lines, headers=NDJSON)
    assert answer.json()["count"] == 20, answer.text
    response = await both.http.post(STREAM, content=b"x" * 1001, headers=NDJSON)
    assert "a line has at most 1000 bytes" in message(response, 413, "RESOURCE_EXHAUSTED")


async def test_bad_streams_are_refused(both, things):
    assert "no items" in message(await both.http.post(STREAM, content=b"\n", headers=NDJSON))
    assert "application/x-ndjson" in message(await both.http.post(STREAM, json={}))
    response = await both.http.post(f"{STREAM}?nothing=1", content=b"", headers=NDJSON)
    assert "nothing" in message(response)


async def test_a_large_body_is_read_like_a_small_one(both, make_picture):
    blank = " " * LARGE_BYTES  # base64 may hold it
    picture = encoded(make_picture("red"))
    content = {"inputs": [{"image": picture + blank}]}
    assert names(await both.http.post(CLASSIFY, json=content)) == ["red"]
    content = {"inputs": [{"image": picture}, {"image": "%" + blank}]}
    said = message(await both.http.post(CLASSIFY, json=content))
    assert said == "inputs[1]: the image is not valid base64"

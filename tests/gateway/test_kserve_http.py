"""KServe v2 over HTTP, as the protocol's text has it."""

import gzip
import json
import zlib
from base64 import b64encode
from dataclasses import replace

import numpy as np
import pytest

COLOURS = "/v2/models/colours"
INFER = f"{COLOURS}/infer"
HEADER = "inference-header-content-length"
RED = np.zeros((1, 8, 8, 3), np.uint8)
RED[..., 0] = 255
PROBABILITIES = [0.9999, 0.0000454, 0.0000454]


def tensor(array=RED, **more):
    told = {"name": "image", "datatype": "UINT8", "shape": list(array.shape)}
    return {**told, "data": array.tolist(), **more}


def outputs(response):
    assert response.status_code == 200, response.text
    return {output["name"]: output for output in response.json()["outputs"]}


def error(response, status=400):
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    assert response.headers["content-type"] == "application/json"
    return response.json()["error"]


def in_binary(request, *tensors):
    """A body of JSON with raw tensors behind it, and its headers."""
    head = json.dumps(request).encode()
    return {"content": b"".join([head, *tensors]), "headers": {HEADER: str(len(head))}}


def raw_outputs(response):
    """Outputs of an answer in binary, as bytes by name."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/octet-stream"
    length = int(response.headers[HEADER])
    told, raw = json.loads(response.content[:length]), response.content[length:]
    found = {}
    for output in told["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size", 0)
        found[output["name"]], raw = raw[:size], raw[size:]
        assert ("data" in output) == (size == 0)
    assert raw == b""
    return found


async def test_health_has_no_body_and_says_no_with_400(both):
    for path in ("/v2/health/live", "/v2/health/ready", f"{COLOURS}/ready"):
        response = await both.http.get(path)
        assert (response.status_code, response.content) == (200, b"")
    both.readiness.drain()
    assert error(await both.http.get("/v2/health/ready")) == "the server is shutting down"
    assert (await both.http.get("/v2/health/live")).status_code == 200


async def test_a_model_that_is_not_there_is_not_ready(both):
    said = error(await both.http.get("/v2/models/nothing/ready"))
    assert said == "model version not ready: there is none"
    assert (await both.http.get(f"{COLOURS}/versions/1/ready")).status_code == 200
    error(await both.http.get(f"{COLOURS}/versions/2/ready"))
    assert "version" in error(await both.http.get(f"{COLOURS}/versions/one/ready"))


async def test_the_server_says_what_it_is(both):
    for path in ("/v2", "/v2/"):
        told = (await both.http.get(path)).json()
        assert told["name"] == "kokeshi"
        assert {"binary_tensor_data", "classification", "statistics"} <= set(told["extensions"])


async def test_a_model_says_what_it_takes(both):
    for path in (COLOURS, f"{COLOURS}/versions/1"):
        told = (await both.http.get(path)).json()
        assert told["versions"] == ["1"]
        assert told["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 8, 8, 3]}]
        assert [each["name"] for each in told["outputs"]] == ["probabilities", "embedding"]
        assert told["properties"]["tasks"]
    assert "nothing" in error(await both.http.get("/v2/models/nothing"), 404)
    error(await both.http.get(f"{COLOURS}/versions/9"), 404)


async def test_a_configuration_is_json_with_numbers(both):
    told = (await both.http.get(f"{COLOURS}/config")).json()
    assert told["max_batch_size"] == 32
    assert told["input"][0]["dims"] == [8, 8, 3]
    assert told["input"][0]["data_type"] == "TYPE_UINT8"
    assert json.loads(told["parameters"]["kokeshi"]["string_value"])["method"] == "by_hand"


@pytest.mark.parametrize("flat", [False, True])
async def test_json_in_json_out(both, flat):
    data = RED.ravel().tolist() if flat else RED.tolist()
    asked = {"id": "a b", "inputs": [tensor(data=data)]}
    response = await both.http.post(INFER, json=asked)
    told = response.json()
    assert (told["id"], told["model_name"], told["model_version"]) == ("a b", "colours", "1")
    found = outputs(response)
    assert list(found) == ["probabilities", "embedding"]
    assert found["probabilities"]["shape"] == [1, 3]
    assert found["probabilities"]["data"] == pytest.approx(PROBABILITIES, rel=1e-3)


async def test_outputs_come_in_the_order_asked_for(both):
    asked = {"inputs": [tensor()], "outputs": [{"name": "embedding"}]}
    response = await both.http.post(f"{COLOURS}/versions/1/infer", json=asked)
    assert list(outputs(response)) == ["embedding"]
    assert "id" not in response.json()


async def test_classes_are_told_in_words(both):
    wanted = {"name": "probabilities", "parameters": {"classification": 2}}
    response = await both.http.post(INFER, json={"inputs": [tensor()], "outputs": [wanted]})
    found = outputs(response)["probabilities"]
    assert (found["datatype"], found["shape"]) == ("BYTES", [1, 2])
    assert found["data"] == ["0.999909:0:red", "0.000045:1:green"]


async def test_binary_in_and_out(both):
    two = np.concatenate([RED, RED[..., ::-1]])
    given = {"name": "image", "datatype": "UINT8", "shape": [2, 8, 8, 3]}
    given["parameters"] = {"binary_data_size": two.nbytes}
    asked = {"inputs": [given], "parameters": {"binary_data_output": True}}
    found = raw_outputs(await both.http.post(INFER, **in_binary(asked, two.tobytes())))
    probabilities = np.frombuffer(found["probabilities"], np.float32).reshape(2, 3)
    assert probabilities.argmax(axis=1).tolist() == [0, 2]
    assert len(found["embedding"]) == 2 * 4 * 4


async def test_each_output_says_how_it_is_sent(both):
    wanted = [{"name": "embedding", "parameters": {"binary_data": True}}, {"name": "probabilities"}]
    response = await both.http.post(INFER, json={"inputs": [tensor()], "outputs": wanted})
    found = raw_outputs(response)
    assert (len(found["embedding"]), found["probabilities"]) == (16, b"")
    wanted[1]["parameters"] = {"classification": 1, "binary_data": True}
    response = await both.http.post(INFER, json={"inputs": [tensor()], "outputs": wanted})
    assert raw_outputs(response)["probabilities"] == b"\x0e\x00\x00\x000.999909:0:red"


async def test_encoded_images_of_any_size_are_taken_for_the_image_input(both, make_picture):
    pictures = [make_picture("red"), make_picture("blue", (300, 7), "JPEG")]
    raw = b"".join(len(each).to_bytes(4, "little") + each for each in pictures)
    given = {"name": "image", "datatype": "BYTES", "shape": [2]}
    binary = {**given, "parameters": {"binary_data_size": len(raw)}}
    wanted = [{"name": "probabilities", "parameters": {"classification": 1}}]
    asked = {"inputs": [binary], "outputs": wanted}
    found = outputs(await both.http.post(INFER, **in_binary(asked, raw)))["probabilities"]["data"]
    assert [each.rpartition(":")[2] for each in found] == ["red", "blue"]
    texts = [b64encode(each).decode() for each in pictures]
    asked = {
        "inputs": [{**given, "parameters": {"content_type": "base64"}, "data": texts}],
        "outputs": wanted,
    }
    again = outputs(await both.http.post(INFER, json=asked))["probabilities"]["data"]
    assert again == found
    asked["inputs"][0]["data"][1] = "%"
    assert error(await both.http.post(INFER, json=asked)) == (
        "'data' of input 'image' is not valid base64"
    )
    asked["inputs"][0]["data"][1] = b64encode(b"no picture").decode()
    assert error(await both.http.post(INFER, json=asked)).startswith("input 1: not an image")


async def test_texts_are_taken_for_the_input_of_a_text_tower(both):
    given = {"name": "tokens", "datatype": "BYTES", "shape": [2], "data": ["red", "blue"]}
    response = await both.http.post("/v2/models/pair.text/infer", json={"inputs": [given]})
    found = np.array(outputs(response)["embedding"]["data"]).reshape(2, 4)
    assert found.argmax(axis=1).tolist() == [0, 2]


async def test_a_body_that_is_an_image_is_the_input(both, make_picture):
    for headers in ({}, {HEADER: "0"}):
        response = await both.http.post(
            INFER,
            content=make_picture("green", (40, 30), "JPEG"),
            headers={"content-type": "image/jpeg", **headers},
        )
        found = np.frombuffer(raw_outputs(response)["probabilities"], np.float32)
        assert found.argmax() == 1


async def test_a_raw_body_is_one_row_of_the_only_input(both):
    response = await both.http.post(INFER, content=RED.tobytes(), headers={HEADER: "0"})
    found = np.frombuffer(raw_outputs(response)["probabilities"], np.float32)
    assert found.tolist() == pytest.approx(PROBABILITIES, rel=1e-3)
    response = await both.http.post(INFER, content=b"short", headers={HEADER: "0"})
    assert "expected 192" in error(response)
    said = error(
        await both.http.post("/v2/models/none/infer", content=b"", headers={HEADER: "0"}), 404
    )
    assert "none" in said


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
async def test_bodies_may_be_compressed(both, encoding, compress):
    body = json.dumps({"inputs": [tensor()]}).encode()
    response = await both.http.post(
        INFER, content=compress(body), headers={"content-encoding": encoding}
    )
    assert outputs(response)["embedding"]["shape"] == [1, 4]
    for damaged in (b"\x00" + compress(body), compress(body)[:-5], compress(body) * 2):
        response = await both.http.post(
            INFER, content=damaged, headers={"content-encoding": encoding}
        )
        assert encoding in error(response)
    response = await both.http.post(INFER, content=body, headers={"content-encoding": "br"})
    assert "gzip or deflate" in error(response, 501)


async def test_a_body_may_not_become_larger_than_the_limit(both):
    both.service.limits = replace(both.service.limits, max_request_bytes=10_000)
    bomb = gzip.compress(b" " * 1_000_000)
    assert len(bomb) < 10_000
    response = await both.http.post(INFER, content=bomb, headers={"content-encoding": "gzip"})
    assert error(response) == "a request has at most 10000 bytes"
    response = await both.http.post(INFER, content=b" " * 10_001)
    assert error(response) == "a request has at most 10000 bytes"


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("br, deflate;q=0.5, gzip;q=0.7", "gzip"),
        ("identity, gzip", None),
        ("br", None),
        ("gzip;q=0", None),
        ("gzip;q=x, deflate", "deflate"),
        ("", None),
    ],
)
async def test_large_answers_are_compressed_as_the_client_likes_best(both, accepted, encoding):
    many = np.repeat(RED, 20, axis=0)
    asked = {"inputs": [tensor(many)]}
    response = await both.http.post(
        "/v2/models/regions/infer", json=asked, headers={"accept-encoding": accepted}
    )
    assert response.headers.get("content-encoding") == encoding
    assert outputs(response)["label_map"]["data"] == [0] * 20 * 64


async def test_a_deadline_comes_in_a_header(both):
    for told in ("x", "0", "-1", "1.5", "9" * 12):
        response = await both.http.post(INFER, json={}, headers={"x-request-timeout-ms": told})
        assert "x-request-timeout-ms" in error(response)
    headers = {"x-request-timeout-ms": "5000"}
    response = await both.http.post(INFER, json={"inputs": [tensor()]}, headers=headers)
    assert response.status_code == 200


async def test_numbers_that_json_has_no_word_for_are_read_and_refused_where_they_mean_nothing(both):
    body = b'{"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1], "data": [NaN]}]}'
    assert "a number with a fraction" in error(await both.http.post(INFER, content=body))
    for body in (b"NaN,", b'{"a": NaN, "b": "\\ud800"}', b"[" * 5000 + b"NaN", b"nonsense"):
        said = error(await both.http.post(INFER, content=body))
        assert said.startswith("failed to parse the request JSON")


def changed(**fields):
    return {"inputs": [tensor(**fields)]}


def wanting(**parameters):
    return {"inputs": [tensor()], "outputs": [{"name": "probabilities", "parameters": parameters}]}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([], "the request is a JSON object, not a list"),
        ({}, "the request has no field 'inputs'"),
        ({"inputs": 1}, "unable to parse 'inputs' of the request: expected a list"),
        ({"inputs": [1]}, "inputs[0] is a JSON object, not 1"),
        ({"inputs": []}, "expected 1 inputs but got 0 inputs"),
        ({"inputs": [tensor()], "id": 1}, "unable to parse 'id'"),
        ({"inputs": [tensor()], "parameters": 1}, "'parameters' of the request is a JSON object"),
        ({"inputs": [tensor()], "parameters": {"priority": "x"}}, "'priority'"),
        ({"inputs": [tensor()], "parameters": {"timeout": -1}}, "'timeout'"),
        ({"inputs": [tensor()], "parameters": {"sequence_id": 1}}, "'sequence_id'"),
        ({"inputs": [tensor()], "parameters": {"triton_x": 1}}, "'triton_"),
        ({"inputs": [tensor()], "parameters": {"x": [1]}}, "'x' is a string, a number"),
        ({"inputs": [tensor()], "parameters": {"binary_data_output": 1}}, "true or false, got 1"),
        (changed(name=None), "unable to parse 'name' of inputs[0]: expected a string, got null"),
        (changed(name="x"), "unexpected inference input 'x' for model 'colours'"),
        (changed(datatype="FP32"), "data-type is 'FP32'"),
        (changed(datatype="UINT9"), "'UINT9'"),
        (changed(datatype="FP16"), "receiving FP16 data via JSON is not supported"),
        (changed(datatype="BF16"), "receiving BF16 data via JSON is not supported"),
        (changed(shape=[1, -8]), "unable to parse 'shape'"),
        (changed(shape=[1, 8.0]), "unable to parse 'shape'"),
        (changed(shape=[True]), "unable to parse 'shape'"),
        (changed(shape=[1, 8, 8]), "expected 64 elements, got 192"),
        (changed(shape=[2**62, 2**62]), "elements, got 192"),
        (changed(shape=[0, 2**62, 2**62], data=[]), "cannot be held"),
        (changed(shape=[0, *[1] * 70], data=[]), "cannot be held"),
        (changed(shape=[8, 8, 3, 1]), "unexpected shape for input 'image'"),
        (changed(shape=[33, 8, 8, 3], data=[0] * 33 * 192), "<= 32"),
        (changed(shape=[0, 8, 8, 3], data=[]), ">= 1"),
        (changed(data=1), "'data' of input 'image' is a list, not an integer"),
        (changed(data=[256] * 192), "of UINT8, is from 0 to 255, not 256"),
        (changed(data=[-1] * 192), "of UINT8, is from 0 to 255, not -1"),
        (changed(data=[2**70] * 192), "is integers, not"),
        (changed(data=[1.5] * 192), "is integers, not a number with a fraction or exponent"),
        (changed(data=[True] * 192), "is integers, not a truth value"),
        (changed(data=["1"] * 192), "is integers, not a string"),
        (changed(data=[None] * 192), "is integers, not null"),
        (changed(data=[{}] * 192), "is integers, not an object"),
        (changed(data=[[1], 1]), "has lists beside elements"),
        (changed(parameters={"binary_data_size": 192}), "'data' and 'binary_data_size'"),
        ({"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1]}]}, "set are none"),
        ({"inputs": [tensor(), tensor()]}, "already exists"),
        ({"inputs": [tensor()], "outputs": [{}]}, "outputs[0] has no field 'name'"),
        ({"inputs": [tensor()], "outputs": [{"name": "x"}]}, "unexpected inference output 'x'"),
        (wanting(classification=0), "'classification'"),
        (wanting(classification="2"), "'classification'"),
        (wanting(binary_data="yes"), "'binary_data'"),
        (wanting(shared_memory_offset=1), "'shared_memory_region'"),
        (wanting(shared_memory_region="r"), "'shared_memory_byte_size'"),
    ],
)
async def test_requests_that_can_never_be_right(both, asked, said):
    assert said in error(await both.http.post(INFER, json=asked))


async def test_bytes_behind_the_json_are_those_announced(both):
    given = {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 3]}
    given["parameters"] = {"binary_data_size": 192}
    asked = {"inputs": [given]}
    said = error(await both.http.post(INFER, **in_binary(asked, b"x" * 191)))
    assert said == (
        "unexpected size for input 'image', expecting 1 additional bytes for model 'colours'"
    )
    said = error(await both.http.post(INFER, **in_binary(asked, b"x" * 193)))
    assert said == "unexpected additional input data for model 'colours'"
    given["parameters"] = {"binary_data_size": 191}
    said = error(await both.http.post(INFER, **in_binary(asked, b"x" * 191)))
    assert "expected 192" in said
    for told in ("-1", "x", "1.0", "²"):
        response = await both.http.post(INFER, content=b"{}", headers={HEADER: told.encode()})
        assert "Inference-Header-Content-Length" in error(response)
    said = error(await both.http.post(INFER, content=b"{}", headers={HEADER: "3"}))
    assert said == "inference header size should be in range (0, 2), got: 3"


async def test_an_unknown_model_is_not_found(both):
    said = error(await both.http.post("/v2/models/none/infer", json={"inputs": [tensor()]}), 404)
    assert "'none'" in said
    error(await both.http.post(f"{COLOURS}/versions/9/infer", json={"inputs": [tensor()]}), 404)
    error(await both.http.post(f"{COLOURS}/versions/x/infer", json={"inputs": [tensor()]}))


async def test_paths_and_methods_that_are_not_there_have_the_protocols_error(both):
    assert error(await both.http.get("/v2/nothing"), 404) == "no such path"
    response = await both.http.get(INFER)
    assert error(response, 405) == "method GET is not allowed here"
    assert response.headers["allow"] == "POST"
    assert error(await both.http.post(f"{COLOURS}/generate", json={}), 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/cudasharedmemory/status"),
        ("POST", "/v2/cudasharedmemory/region/a/register"),
        ("GET", "/v2/logging"),
        ("POST", "/v2/trace/setting"),
        ("GET", f"{COLOURS}/trace/setting"),
    ],
)
async def test_what_is_not_answered_says_so(both, method, path):
    error(await both.http.request(method, path), 501)


async def test_statistics_count_requests_rows_and_batches(both):
    for _ in range(2):
        await both.http.post(INFER, json={"inputs": [tensor(np.repeat(RED, 3, axis=0))]})
    for path in (f"{COLOURS}/stats", f"{COLOURS}/versions/1/stats"):
        (told,) = (await both.http.get(path)).json()["model_stats"]
        assert (told["name"], told["version"]) == ("colours", "1")
        assert told["inference_stats"]["success"]["count"] == 2
        assert told["inference_stats"]["success"]["ns"] > 0
        assert (told["inference_count"], told["execution_count"]) == (6, 2)
        assert [each["batch_size"] for each in told["batch_stats"]] == [3]
    every = (await both.http.get("/v2/models/stats")).json()["model_stats"]
    assert {"colours", "tags"} <= {each["name"] for each in every}
    error(await both.http.get("/v2/models/none/stats"), 404)


async def test_the_index_lists_states(both):
    for body in ({}, {"content": b"{}"}, {"json": {"ready": True}}):
        told = (await both.http.post("/v2/repository/index", **body)).json()
        found = {each["name"]: each for each in told}
        assert found["colours"] == {
            "name": "colours", "version": "1", "state": "READY", "reason": "",
        }  # fmt: skip
    assert "'ready'" in error(await both.http.post("/v2/repository/index", json={"ready": 1}))


async def test_requests_are_counted_by_call_and_logged_by_model(both, caplog):
    with caplog.at_level("INFO", "kokeshi.requests"):
        await both.http.post(f"{COLOURS}/versions/1/infer", json={"inputs": [tensor()]})
        await both.http.post("/v2/models/none/infer", json={"inputs": [tensor()]})
    fields = [record.fields for record in caplog.records]
    assert [(each["call"], each["code"], each["model"]) for each in fields] == [
        ("ModelInfer", "OK", "colours"),
        ("ModelInfer", "NOT_FOUND", "none"),
    ]


async def test_models_are_not_loaded_by_the_api_unless_the_server_is_told_to(both):
    for action in ("load", "unload"):
        said = error(await both.http.post(f"/v2/repository/models/colours/{action}"), 503)
        assert "explicit" in said
        response = await both.http.post(
            f"/v2/repository/models/colours/{action}", json={"parameters": {"x": "y"}}
        )
        assert "'x'" in error(response)

"""Tensors as JSON, both ways, of every type."""

import json

import numpy as np
import pytest

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.http.v2.answered import respond
from kokeshi.gateway.http.v2.body import parse_lenient
from kokeshi.gateway.http.v2.data import array_of_json
from kokeshi.gateway.kserve import InferAnswer, InferOutput, SharedMemory, WantedOutput


async def answered(datatype, array, *, binary=False):
    output = InferOutput("y", datatype, array.shape, array, WantedOutput("y"))
    answer = InferAnswer("m", "1", "", [output])
    return await respond(answer, binary=binary, accepted="", regions=SharedMemory())


@pytest.mark.parametrize(
    ("datatype", "data", "dtype"),
    [
        ("BOOL", [True, False], np.bool_),
        ("UINT8", [0, 255], np.uint8),
        ("UINT64", [0, 2**64 - 1], np.uint64),
        ("INT8", [-128, 127], np.int8),
        ("INT64", [-(2**63), 2**63 - 1], np.int64),
        ("FP32", [1, 0.1], np.float32),
        ("FP64", [1, 0.1], np.float64),
        ("BYTES", ["é", ""], object),
    ],
)
async def test_what_is_read_is_written(datatype, data, dtype):
    array = array_of_json("x", datatype, (2, 1), [[data[0]], [data[1]]])
    assert (array.dtype, array.shape) == (dtype, (2, 1))
    (told,) = json.loads((await answered(datatype, array)).body)["outputs"]
    assert told == {"name": "y", "datatype": datatype, "shape": [2, 1], "data": data}


async def test_numbers_that_json_has_no_word_for_go_both_ways_as_tritons_do():
    data = parse_lenient(memoryview(b"[NaN, Infinity, -Infinity, 1.5, 1e300]"))
    array = array_of_json("x", "FP32", (5,), data)
    response = await answered("FP32", array)
    assert b"NaN, Infinity, -Infinity, 1.5, Infinity" in response.body
    found = json.loads(response.body)["outputs"][0]["data"]
    assert np.array_equal(np.array(found, np.float32), array, equal_nan=True)


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
async def test_half_precision_is_sent_in_binary_alone(datatype):
    array = np.zeros(2, np.float16 if datatype == "FP16" else np.uint16)
    with pytest.raises(InvalidRequestError, match="binary data format"):
        await answered(datatype, array)
    response = await answered(datatype, array, binary=True)
    assert response.body.endswith(bytes(4))


async def test_bytes_that_are_no_text_are_sent_in_binary_alone():
    array = np.array([b"\xff"], object)
    with pytest.raises(InvalidRequestError, match="no UTF-8"):
        await answered("BYTES", array)
    assert (await answered("BYTES", array, binary=True)).body.endswith(b"\x01\x00\x00\x00\xff")


async def test_a_tensor_without_elements_has_no_bytes_behind_the_json():
    response = await answered("FP32", np.zeros((0, 3), np.float32), binary=True)
    assert response.headers["content-type"] == "application/json"
    (told,) = json.loads(response.body)["outputs"]
    assert told["parameters"] == {"binary_data_size": 0}

"""Requests and answers on the wire are what protobuf makes of them."""

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from kokeshi.engines.config import Tensor
from kokeshi.engines.triton.wire import (
    Place,
    config_type,
    frame,
    joined,
    outputs_of,
    raw_of,
    row_bytes,
    scheduling,
    tensor_of,
    wire_type,
)

TENSORS = {
    "BOOL": np.array([[True], [False]]),
    "UINT8": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "INT64": np.array([-1, 2**62]),
    "FP16": np.array([0.5, -2], np.float16),
    "FP32": np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 2, 2),
    "BF16": np.array([[0x3F80]], np.uint16),
    "BYTES": np.array([b"", b"a", "ä".encode() * 200], np.object_),
}


@pytest.mark.parametrize("datatype", TENSORS)
def test_a_request_reads_as_protobuf_writes_it(datatype):
    tensor = TENSORS[datatype]
    inputs = (("x", datatype, tensor.shape, None),)
    place = Place("region", 64, 12)
    data = joined([frame("m", "3", inputs, (("y", place), ("z", None)))], [tensor])
    message = service_pb2.ModelInferRequest.FromString(data)
    assert (message.model_name, message.model_version) == ("m", "3")
    (read,) = message.inputs
    assert (read.name, read.datatype, tuple(read.shape)) == ("x", datatype, tensor.shape)
    assert message.raw_input_contents[0] == bytes(raw_of(tensor))
    assert [output.name for output in message.outputs] == ["y", "z"]
    assert message.outputs[0].parameters["shared_memory_region"].string_param == "region"
    assert message.outputs[0].parameters["shared_memory_offset"].int64_param == 64
    assert message.outputs[0].parameters["shared_memory_byte_size"].int64_param == 12
    assert not message.outputs[1].parameters


def test_parameters_are_joined_to_a_request():
    data = joined([frame("m", "", (), ()), scheduling(2, 5000)], [])
    message = service_pb2.ModelInferRequest.FromString(data)
    assert message.model_name == "m"
    assert message.parameters["priority"].uint64_param == 2
    assert message.parameters["timeout"].int64_param == 5000


def _answer(tensors):
    message = service_pb2.ModelInferResponse(model_name="m", model_version="1", id="x" * 300)
    for name, (datatype, tensor) in tensors.items():
        message.outputs.add(name=name, datatype=datatype, shape=tensor.shape)
        message.raw_output_contents.append(bytes(raw_of(tensor)))
    return message.SerializeToString()


def test_an_answer_gives_every_tensor_back():
    data = _answer({datatype: (datatype, tensor) for datatype, tensor in TENSORS.items()})
    found = {output.name: output.array() for output in outputs_of(data)}
    assert set(found) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].flags.aligned
        np.testing.assert_array_equal(found[name], tensor)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2_097_152])
def test_lengths_of_every_width_are_read_and_written(size):
    tensor = np.arange(size, dtype=np.uint32).astype(np.uint8)
    data = joined([frame("m", "", (("x", "UINT8", tensor.shape, None),), ())], [tensor])
    message = service_pb2.ModelInferRequest.FromString(data)
    assert message.raw_input_contents[0] == tensor.tobytes()
    (output,) = outputs_of(_answer({"y": ("UINT8", tensor)}))
    np.testing.assert_array_equal(output.array(), tensor)


def test_bytes_of_an_answer_are_not_copied():
    tensor = np.zeros((1000, 1000), np.uint8)
    data = _answer({"y": ("UINT8", tensor)})
    (output,) = outputs_of(data)
    whole = np.frombuffer(data, np.uint8)
    assert np.shares_memory(whole, output.array())


def test_what_is_no_contiguous_array_travels_in_its_order():
    tensor = np.arange(24, dtype=np.int16).reshape(2, 3, 4).transpose(2, 0, 1)[::2]
    np.testing.assert_array_equal(
        tensor_of("INT16", tensor.shape, raw_of(tensor)), np.ascontiguousarray(tensor)
    )


@pytest.mark.parametrize("data", [b"\x08\x01", b"\xff\x01", b"\x2a\x00\x32\x00\x32\x00"])
def test_what_is_no_answer_is_not_read_as_one(data):
    with pytest.raises(ValueError, match=r"tag|zip"):
        outputs_of(data)


def test_too_few_bytes_of_a_tensor_are_refused():
    with pytest.raises(ValueError, match=r"cannot reshape|buffer size"):
        tensor_of("FP32", (2, 2), memoryview(b"\0" * 12))


def test_types_have_the_names_of_the_protocol():
    assert wire_type("TYPE_FP32") == "FP32"
    assert wire_type("TYPE_STRING") == "BYTES"
    assert [config_type(wire_type(name)) for name in ("TYPE_BF16", "TYPE_STRING")] == [
        "TYPE_BF16",
        "TYPE_STRING",
    ]


@pytest.mark.parametrize(
    ("data_type", "dims", "nbytes"),
    [
        ("TYPE_FP32", (3, 4), 48),
        ("TYPE_UINT8", (), 1),
        ("TYPE_FP16", (-1,), 0),
        ("TYPE_STRING", (1,), 0),
    ],
)
def test_the_size_of_a_row_is_known_where_the_configuration_says_it(data_type, dims, nbytes):
    assert row_bytes(Tensor(name="y", data_type=data_type, dims=dims)) == nbytes

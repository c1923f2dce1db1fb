"""What both doors of KServe v2 share: tensors, classes, parameters, shared memory, statuses."""

import asyncio
import gc
import json
import os
import threading
from dataclasses import replace

import numpy as np
import pytest
from google.protobuf.json_format import ParseDict
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import (
    deserialize_bytes_tensor,
    np_to_triton_dtype,
    serialize_byte_tensor,
    triton_to_np_dtype,
)
from tritonclient.utils import shared_memory as shm

from kokeshi import errors
from kokeshi.errors import (
    DeadlineError,
    InvalidRequestError,
    ModelNotFoundError,
    NotFoundError,
    UnavailableError,
    UnimplementedError,
)
from kokeshi.gateway.kserve import (
    InferCall,
    InferInput,
    WantedOutput,
    grpc_code,
    http_status,
    infer,
    infer_now,
    regions_of,
)
from kokeshi.gateway.kserve.calls import prepare, version_of
from kokeshi.gateway.kserve.classification import MAX_ELEMENTS, classes
from kokeshi.gateway.kserve.contracts import contracts_of
from kokeshi.gateway.kserve.datatypes import (
    BYTES,
    DTYPES,
    array_of,
    datatype_of,
    raw_of,
)
from kokeshi.gateway.kserve.parameters import Region
from kokeshi.gateway.kserve.repository import config_json, config_message, load
from kokeshi.gateway.kserve.shared_memory import SharedMemory

TYPES = set(model_config_pb2.DataType.keys())
NUMBERS = sorted(set(DTYPES) - {BYTES, "BOOL", "BF16"})


@pytest.mark.parametrize("datatype", sorted(set(DTYPES) - {"BF16", BYTES}))
def test_numpy_has_the_types_that_tritons_client_takes(datatype):
    assert DTYPES[datatype] == triton_to_np_dtype(datatype)


def test_every_type_of_a_configuration_has_its_name_in_the_protocol():
    assert {datatype_of(each) for each in TYPES - {"TYPE_INVALID"}} == set(DTYPES)


@pytest.mark.parametrize("datatype", NUMBERS)
def test_numbers_are_views_of_their_bytes(datatype):
    values = np.arange(6).astype(DTYPES[datatype]).reshape(2, 3)
    assert np_to_triton_dtype(values.dtype) == datatype
    raw = values.tobytes()
    array = array_of("x", datatype, (2, 3), raw)
    assert array.dtype == DTYPES[datatype]
    np.testing.assert_array_equal(array, values)
    assert np.shares_memory(array, np.frombuffer(raw, np.uint8))
    assert not array.flags.writeable
    assert bytes(raw_of(datatype, array)) == raw
    assert bytes(raw_of(datatype, values.T)) == values.T.tobytes()  # in C order, always


def test_truth_is_zero_or_one():
    array = array_of("x", "BOOL", (3,), b"\0\1\2")
    assert array.tolist() == [False, True, True]
    assert bytes(raw_of("BOOL", array)) == b"\0\1\1"


def test_an_unaligned_place_is_copied():
    raw = memoryview(bytes(1) + np.arange(3, dtype="<f4").tobytes())[1:]
    array = array_of("x", "FP32", (3,), raw)
    assert array.flags.aligned
    assert not array.flags.writeable
    assert array.tolist() == [0, 1, 2]


@pytest.mark.parametrize("elements", [[], [b""], [b"a", b"\xff\x00", "größe".encode()]])
def test_bytes_are_those_of_tritons_client(elements):
    given = np.array(elements, object)
    raw = serialize_byte_tensor(given).item() if elements else b""
    array = array_of("x", BYTES, (len(elements),), raw)
    assert array.tolist() == elements
    assert raw_of(BYTES, array) == raw
    assert deserialize_bytes_tensor(raw).tolist() == elements


def test_words_of_a_graph_are_written_in_utf8():
    array = np.array([["ä", "b"]], object)
    assert raw_of(BYTES, array) == b"\2\0\0\0\xc3\xa4\1\0\0\0b"


def test_a_tensor_without_axes_is_one_value():
    assert array_of("x", "INT64", (), (7).to_bytes(8, "little")).item() == 7


@pytest.mark.parametrize(
    ("datatype", "shape", "raw", "message"),
    [
        ("FP32", (2,), bytes(7), "expected 8 for FP32 [2], got 7"),
        ("FP32", (2**40, 2**40), bytes(8), "got 8"),
        ("FP32", (-1,), bytes(8), "specified as 0 or more, not [-1]"),
        ("FP31", (1,), bytes(4), "not 'FP31'"),
        ("FP32", (1,) * 70, bytes(4), "cannot be held"),
        (BYTES, (2**40,), b"", "expected 1099511627776 string elements"),
        (BYTES, (0,), b"\0", "unexpected number of string elements"),
    ],
)
def test_what_does_not_fit_is_refused(datatype, shape, raw, message):
    with pytest.raises(InvalidRequestError) as caught:
        array_of("x", datatype, shape, raw)
    assert "'x'" in str(caught.value)
    assert message in str(caught.value)


def test_of_equal_classes_the_first_comes_first():
    row = np.array([1, 5, 10, 5], np.int64)
    assert classes("INT64", row[None], 3, (), batched=True).tolist() == [[b"10:2", b"5:1", b"5:3"]]
    assert classes("INT64", row, 9, ("a", "b"), batched=False).tolist() == [
        b"10:2",
        b"5:1:b",
        b"5:3",
        b"1:0:a",
    ]


@pytest.mark.parametrize(
    ("datatype", "value", "word"),
    [
        ("FP32", 1.1, b"1.100000:0"),
        ("FP64", -1e-9, b"-0.000000:0"),
        ("FP32", np.inf, b"inf:0"),
        ("UINT8", 255, b"255:0"),
        ("INT64", -(2**63), b"-9223372036854775808:0"),
        ("UINT64", 2**64 - 1, b"18446744073709551615:0"),
    ],
)
def test_values_are_written_as_c_writes_them(datatype, value, word):
    array = np.array([[value]], DTYPES[datatype])
    assert classes(datatype, array, 1, (), batched=True).tolist() == [[word]]


def test_classes_of_what_has_no_order_are_refused():
    for datatype in ("FP16", "BF16", "BOOL", BYTES):
        with pytest.raises(InvalidRequestError, match=f"unsupported type '{datatype}'"):
            classes(datatype, np.zeros((1, 2), DTYPES[datatype]), 1, (), batched=True)
    with pytest.raises(InvalidRequestError, match="too large"):
        classes("INT8", np.zeros((1, MAX_ELEMENTS + 1), np.int8), 1, (), batched=True)


def test_versions_are_numbers_over_zero():
    assert version_of("") == 0
    assert version_of("12") == 12
    for text in ("0", "-1", "1.0", "٣", " 1", "newest"):
        with pytest.raises(InvalidRequestError, match="failed to get model version"):
            version_of(text)


def every_error() -> list[type[errors.KokeshiError]]:
    found = [
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.KokeshiError)
    ]
    assert len(found) > 15
    return found


@pytest.mark.parametrize("kind", every_error())
def test_every_error_has_a_status_of_tritons(kind):
    expected = {
        "NOT_FOUND": 404,
        "UNAVAILABLE": 503,
        "INTERNAL": 500,
        "UNIMPLEMENTED": 501,
        "CANCELLED": 499,
        "DEADLINE_EXCEEDED": 504,
        "UNAUTHENTICATED": 401,
        "PERMISSION_DENIED": 403,
    }
    error = kind("said")
    code = grpc_code(error)
    assert code in {*expected, "INVALID_ARGUMENT", "ALREADY_EXISTS"}
    assert http_status(error) == expected.get(code, 400)


def test_a_full_queue_is_unavailable_and_what_can_never_be_right_is_invalid():
    assert grpc_code(errors.OverloadedError("full")) == "UNAVAILABLE"
    assert grpc_code(errors.TooLargeError("large")) == "INVALID_ARGUMENT"
    assert grpc_code(errors.SpaceMismatchError("other")) == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("timeout_s", "kind"), [(None, UnavailableError), (60.0, UnavailableError), (0, DeadlineError)]
)
async def test_the_queues_timeout_is_a_refusal_and_the_callers_deadline_is_not(
    service, monkeypatch, timeout_s, kind
):
    async def late(request):
        raise DeadlineError("too late")

    def late_now(request, watch=None):
        raise DeadlineError("too late")

    monkeypatch.setattr(service._engine, "infer", late)
    monkeypatch.setattr(service._engine, "infer_now", late_now)
    call = InferCall("colours", "", "", [IMAGE])
    with pytest.raises(kind, match="too late"):
        await infer(service, call, timeout_s)
    with pytest.raises(kind, match="too late"):
        await asyncio.to_thread(infer_now, service, call, timeout_s)


@pytest.fixture
def segment():
    """A region of shared memory of 64 bytes, counting up."""
    region = shm.create_shared_memory_region("made", "/kserve_codec", 64)
    shm.set_shared_memory_region(region, [np.arange(64, dtype=np.uint8)])
    yield "/kserve_codec"
    shm.destroy_shared_memory_region(region)


def test_a_region_begins_at_its_offset(segment):
    memory = SharedMemory()
    memory.register("half", segment, 32, 32)
    assert bytes(memory.read(Region("half", 0, 4))) == bytes([32, 33, 34, 35])
    memory.write(Region("half", 30, 2), "y", b"zz")
    assert bytes(memory.read(Region("half", 28, 4))) == bytes([60, 61]) + b"zz"
    with pytest.raises(InvalidRequestError, match="invalid offset for shared memory region"):
        memory.read(Region("half", 33, 0))
    with pytest.raises(InvalidRequestError, match=r"invalid offset \+ byte size"):
        memory.read(Region("half", 31, 2))


def test_what_is_read_cannot_be_written_to(segment):
    memory = SharedMemory()
    memory.register("all", segment, 0, 64)
    assert memory.read(Region("all", 0, 64)).readonly


def test_a_region_stays_mapped_while_it_is_read(segment):
    memory = SharedMemory()
    memory.register("all", segment, 0, 64)
    array = array_of("x", "UINT8", (64,), memory.read(Region("all", 0, 64)))
    memory.unregister("all")
    gc.collect()
    assert array.sum() == sum(range(64))
    with pytest.raises(NotFoundError):
        memory.read(Region("all", 0, 64))
    memory.unregister("all")  # once more is no error, as in Triton


def test_threads_register_read_and_forget(segment):
    memory = SharedMemory()
    wrong: list[Exception] = []

    def use(name: str) -> None:
        try:
            for _ in range(200):
                memory.register(name, segment, 0, 64)
                assert bytes(memory.read(Region(name, 1, 1))) == b"\1"
                memory.unregister(name)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=use, args=(f"r{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert memory.status() == []


def test_regions_may_be_forbidden(segment):
    with pytest.raises(UnimplementedError, match="disabled"):
        SharedMemory(allowed=False).register("all", segment, 0, 64)


def test_a_link_in_shared_memory_leads_nowhere(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(64))
    link = "/dev/shm/kserve_link"
    os.symlink(secret, link)
    try:
        with pytest.raises(InvalidRequestError, match="unable to open"):
            SharedMemory().register("all", "/kserve_link", 0, 64)
    finally:
        os.unlink(link)


def test_both_doors_of_a_service_have_the_same_regions(service):
    assert regions_of(service) is regions_of(service)
    assert contracts_of(service) is contracts_of(service)


IMAGE = InferInput("image", "UINT8", (2, 8, 8, 3), np.zeros((2, 8, 8, 3), np.uint8))


async def test_a_call_is_answered_on_the_event_loop(service):
    call = InferCall("colours", "", "7", [IMAGE], [WantedOutput("probabilities", 1)])
    answer = await infer(service, call, 5)
    assert (answer.model, answer.version, answer.id) == ("colours", "1", "7")
    (output,) = answer.outputs
    assert (output.name, output.datatype, output.shape) == ("probabilities", BYTES, (2, 1))
    assert output.array.tolist() == [[b"0.333333:0:red"]] * 2


async def test_who_asked_for_the_newest_does_not_see_a_swap(service, monkeypatch):
    infer_there, seen = service._engine.infer, []

    async def swapped(request):
        seen.append(request.version)
        if request.version == 9:
            contracts_of(service)._known.clear()
            raise ModelNotFoundError("no model named 'colours' with version 9")
        return await infer_there(request)

    monkeypatch.setattr(service._engine, "infer", swapped)
    call = InferCall("colours", "", "", [IMAGE])
    gone = replace(prepare(service, call).contract, version=9)
    contracts_of(service)._known["colours", 0] = gone
    answer = await infer(service, call)
    assert seen == [9, 1]
    assert answer.version == "1"


async def test_who_asked_for_a_version_is_told_that_it_went(service, monkeypatch):
    async def gone(request):
        raise UnavailableError("model 'colours' was unloaded")

    monkeypatch.setattr(service._engine, "infer", gone)
    for version in ("", "1"):  # there is no other
        with pytest.raises(UnavailableError, match="was unloaded"):
            await infer(service, InferCall("colours", version, "", [IMAGE]))


@pytest.mark.parametrize("model", ["colours", "pair.text"])
async def test_the_configuration_in_json_is_the_one_that_was_read(service, model):
    message = model_config_pb2.ModelConfig()
    assert ParseDict(config_json(service, model), message) == config_message(service, model)


async def test_the_configuration_in_json_has_numbers_as_numbers(service):
    told = config_json(service, "colours")
    assert json.loads(json.dumps(told)) == told
    assert told["max_batch_size"] == 32
    assert told["input"][0]["dims"] == [8, 8, 3]
    assert told["input"][0]["data_type"] == "TYPE_UINT8"
    queue = told["dynamic_batching"]["default_queue_policy"]
    assert queue["max_queue_size"] == 1024
    assert queue["timeout_action"] == "REJECT"
    assert told["model_warmup"][0]["inputs"]["image"]["zero_data"] is True
    assert told["version_policy"]["latest"]["num_versions"] == 1
    assert json.loads(told["parameters"]["kokeshi"]["string_value"])["name"] == "colours"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"other": "x"}, "unrecognised load parameter 'other'"),
        ({"config": 3}, "'config' is a string of JSON"),
        ({"config": "{"}, "'config' is no configuration of model 'colours'"),
        ({"config": "[]"}, "'config' is a JSON object"),
        ({"config": '{"nothing": 1}'}, "'config' is no configuration of model 'colours'"),
        ({"config": "[" * 100_000}, "'config' is no configuration of model 'colours'"),
        ({"file:1/model.onnx": b""}, "'config' must be specified along with 'file:1/model.onnx'"),
        ({"config": "{}", "file:1/model.onnx": "?"}, "'file:1/model.onnx' is not base64"),
        ({"config": "{}", "file:1/model.onnx": 1}, "'file:1/model.onnx' holds the bytes"),
    ],
)
async def test_wrong_load_parameters_are_told(service, parameters, message):
    with pytest.raises(InvalidRequestError) as caught:
        await load(service, "colours", parameters)
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["0", "-1", "1.0", "one", "\u0661", "1" * 19, "1" * 5000])
def test_what_is_no_version_is_the_clients_mistake(text):
    with pytest.raises(errors.InvalidRequestError, match="version should be an integral value"):
        version_of(text)

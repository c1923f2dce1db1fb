"""KServe v2 over gRPC, asked by Triton's own client."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc
from tritonclient.utils import InferenceServerException
from tritonclient.utils import shared_memory as shm

from kokeshi.engines.protocol import ModelStatus, State
from kokeshi.errors import OverloadedError, UnavailableError

RED, GREEN, BLUE = np.eye(3, dtype=np.uint8) * 255


def pixels(*colours) -> np.ndarray:
    """(n, 8, 8, 3) uint8, each picture of one colour."""
    return np.stack([np.broadcast_to(colour, (8, 8, 3)) for colour in colours])


def tensor(name, array, datatype=None) -> triton.InferInput:
    given = triton.InferInput(name, array.shape, datatype or triton.np_to_triton_dtype(array.dtype))
    given.set_data_from_numpy(array)
    return given


def encoded(*files: bytes, shape=None) -> triton.InferInput:
    array = np.array(files, object).reshape(shape or len(files))
    return tensor("image", array, "BYTES")


def raw_request(**fields) -> pb.ModelInferRequest:
    """A request for the colours of one red picture, changed by `fields`."""
    given = {
        "model_name": "colours",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 3]}],
        "raw_input_contents": [pixels(RED).tobytes()],
    }
    return pb.ModelInferRequest(**{**given, **fields})


def parameters(**values) -> dict:
    """InferParameters by name."""
    kinds = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
    return {name: {kinds[type(value)]: value} for name, value in values.items()}


@pytest.fixture
def address(both) -> str:
    """Where the gRPC door is."""
    return both.address


@pytest.fixture
async def client(address) -> AsyncIterator[triton_aio.InferenceServerClient]:
    """Triton's client on the event loop."""
    async with triton_aio.InferenceServerClient(address) as made:
        yield made


@pytest.fixture
async def stub(address) -> AsyncIterator[service_pb2_grpc.GRPCInferenceServiceStub]:
    """The bare calls, for what Triton's client would never send."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


async def refused(call) -> tuple[str, str]:
    """The code and message of a call that fails."""
    with pytest.raises((grpc.aio.AioRpcError, InferenceServerException)) as caught:
        await call
    error = caught.value
    if isinstance(error, InferenceServerException):
        return error.status().removeprefix("StatusCode."), error.message()
    return error.code().name, error.details()


async def test_live_ready_and_what_it_is(client):
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("colours")
    assert await client.is_model_ready("colours", "1")
    assert not await client.is_model_ready("colours", "2")
    assert not await client.is_model_ready("nothing")
    told = await client.get_server_metadata(as_json=True)
    assert told["name"] == "kokeshi"
    assert {"classification", "system_shared_memory", "statistics"} <= set(told["extensions"])


async def test_a_server_that_loads_is_live_and_not_ready(client, service, monkeypatch):
    loading = [ModelStatus("colours", 1, State.BUILDING, progress=0.43)]
    monkeypatch.setattr(service._engine, "models", lambda: loading)
    assert await client.is_server_live()
    assert not await client.is_server_ready()
    assert not await client.is_model_ready("colours")
    index = await client.get_model_repository_index(as_json=True)
    assert index["models"] == [
        {"name": "colours", "version": "1", "state": "LOADING", "reason": "building: 43 %"}
    ]


async def test_model_metadata_has_the_batch_axis(client):
    told = await client.get_model_metadata("colours")
    assert (told.name, list(told.versions), told.platform) == ("colours", ["1"], "onnxruntime_onnx")
    (image,) = told.inputs
    assert (image.name, image.datatype, list(image.shape)) == ("image", "UINT8", [-1, 8, 8, 3])
    assert [(each.name, each.datatype, list(each.shape)) for each in told.outputs] == [
        ("probabilities", "FP32", [-1, 3]),
        ("embedding", "FP32", [-1, 4]),
    ]


async def test_the_configuration_is_whole(client):
    config = (await client.get_model_config("colours", "1")).config
    assert config.name == "colours"
    assert config.max_batch_size == 32
    assert list(config.input[0].dims) == [8, 8, 3]
    assert json.loads(config.parameters["kokeshi"].string_value)["name"] == "colours"


async def test_raw_tensors_are_answered_in_order(client):
    answer = await client.infer(
        "colours", [tensor("image", pixels(RED, GREEN, BLUE))], request_id="seven"
    )
    response = answer.get_response()
    assert (response.model_name, response.model_version, response.id) == ("colours", "1", "seven")
    assert [output.name for output in response.outputs] == ["probabilities", "embedding"]
    assert answer.as_numpy("probabilities").argmax(axis=1).tolist() == [0, 1, 2]
    assert answer.as_numpy("probabilities").dtype == np.float32
    assert answer.as_numpy("embedding").shape == (3, 4)


async def test_outputs_come_as_they_were_asked_for(client):
    wanted = [triton.InferRequestedOutput(name) for name in ("embedding", "probabilities")]
    answer = await client.infer("colours", [tensor("image", pixels(RED))], outputs=wanted)
    assert [output.name for output in answer.get_response().outputs] == [
        "embedding",
        "probabilities",
    ]
    answer = await client.infer("colours", [tensor("image", pixels(RED))], outputs=wanted[:1])
    assert [output.name for output in answer.get_response().outputs] == ["embedding"]


async def test_typed_contents_say_the_same_as_raw_ones(stub):
    raw = await stub.ModelInfer(raw_request())
    contents = {"uint_contents": pixels(RED).ravel().tolist()}
    inputs = [{"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 3], "contents": contents}]
    typed = await stub.ModelInfer(raw_request(inputs=inputs, raw_input_contents=[]))
    assert typed == raw


async def test_images_of_any_size_are_mixed_in_one_batch(client, make_picture):
    files = [
        make_picture("red", (20, 10)),
        make_picture((0, 255, 0), (3, 300), "JPEG"),
        make_picture("blue", (64, 64), "WEBP"),
    ]
    for shape in ((3,), (3, 1)):
        answer = await client.infer("colours", [encoded(*files, shape=shape)])
        assert answer.as_numpy("probabilities").argmax(axis=1).tolist() == [0, 1, 2]


async def test_more_images_than_a_batch_are_split_and_joined(client, service, make_picture):
    colours = [("red", 0), ((0, 255, 0), 1), ("blue", 2)]
    order = [colours[i % 3] for i in range(service.config("colours").max_batch_size + 5)]
    files = {colour: make_picture(colour) for colour, _ in colours}
    answer = await client.infer("colours", [encoded(*(files[colour] for colour, _ in order))])
    assert answer.as_numpy("probabilities").argmax(axis=1).tolist() == [i for _, i in order]


async def test_texts_are_taken_by_a_text_tower(client):
    texts = np.array([b"red", b"blue"], object)
    answer = await client.infer("pair.text", [tensor("tokens", texts, "BYTES")])
    assert answer.as_numpy("embedding").argmax(axis=1).tolist() == [0, 2]


async def test_classes_come_in_words_with_labels(client):
    wanted = [
        triton.InferRequestedOutput("probabilities", class_count=2),
        triton.InferRequestedOutput("embedding", class_count=9),
    ]
    answer = await client.infer("colours", [tensor("image", pixels(RED, BLUE))], outputs=wanted)
    assert answer.as_numpy("probabilities").tolist() == [
        [b"0.999909:0:red", b"0.000045:1:green"],
        [b"0.999909:2:blue", b"0.000045:0:red"],
    ]
    without_labels = answer.as_numpy("embedding")
    assert without_labels.shape == (2, 4)  # there are four, so nine are four
    assert without_labels[0].tolist() == [
        b"0.894427:0",
        b"0.447214:3",
        b"0.000000:1",
        b"0.000000:2",
    ]


async def test_whole_numbers_come_in_words_as_whole_numbers(client):
    wanted = [triton.InferRequestedOutput("label_map", class_count=1)]
    answer = await client.infer("regions", [tensor("image", pixels(GREEN))], outputs=wanted)
    assert answer.as_numpy("label_map").tolist() == [[b"1:0"]]  # the label map has no classes


async def test_priority_and_timeout_are_taken(client):
    answer = await client.infer(
        "colours", [tensor("image", pixels(RED))], priority=1, timeout=5_000_000
    )
    assert answer.as_numpy("probabilities").argmax() == 0


async def test_priority_timeout_and_deadline_reach_the_engine(stub, service, monkeypatch):
    seen = []
    infer_soon = service._engine.infer_soon

    def spy(request, done, watch):
        seen.append(request)
        infer_soon(request, done, watch)

    monkeypatch.setattr(service._engine, "infer_soon", spy)
    asked = parameters(priority=2, timeout=250_000, anything="else")
    await stub.ModelInfer(raw_request(parameters=asked, model_version="1"), timeout=5)
    await stub.ModelInfer(raw_request())
    assert (seen[0].priority, seen[0].queue_timeout_s, seen[0].version) == (2, 0.25, 1)
    assert seen[0].timeout_s == pytest.approx(5, abs=1)
    assert (seen[1].priority, seen[1].queue_timeout_s, seen[1].timeout_s) == (0, None, None)


IMAGE = {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 3]}
BYTES_IMAGE = {"name": "image", "datatype": "BYTES", "shape": [1]}
SHARED = {"shared_memory_region": "nowhere", "shared_memory_byte_size": 192}
PIXELS = bytes(192)


def with_input(**fields):
    return {"inputs": [{**IMAGE, **fields}]}


def with_output(**fields):
    return {"outputs": [{"name": "probabilities", "parameters": parameters(**fields)}]}


WRONG = {
    "unknown model": ({"model_name": "nothing"}, "NOT_FOUND", "'nothing'"),
    "no model": ({"model_name": ""}, "NOT_FOUND", "''"),
    "unknown version": ({"model_version": "7"}, "NOT_FOUND", "7"),
    "version in words": (
        {"model_version": "latest"},
        "INVALID_ARGUMENT",
        "failed to get model version from specified version string 'latest'",
    ),
    "negative version": ({"model_version": "-1"}, "INVALID_ARGUMENT", "integral value > 0"),
    "unknown input": (
        with_input(name="picture"),
        "INVALID_ARGUMENT",
        "unexpected inference input 'picture' for model 'colours'",
    ),
    "no input": (
        {"inputs": [], "raw_input_contents": []},
        "INVALID_ARGUMENT",
        "expected 1 inputs but got 0 inputs for model 'colours'",
    ),
    "input twice": (
        {"inputs": [IMAGE, IMAGE], "raw_input_contents": [PIXELS, PIXELS]},
        "INVALID_ARGUMENT",
        "input 'image' already exists in request",
    ),
    "unknown output": (
        {"outputs": [{"name": "logits"}]},
        "INVALID_ARGUMENT",
        "unexpected inference output 'logits' for model 'colours'",
    ),
    "unknown type": (with_input(datatype="UINT9"), "INVALID_ARGUMENT", "not 'UINT9'"),
    "another type": (
        {**with_input(datatype="FP32"), "raw_input_contents": [bytes(768)]},
        "INVALID_ARGUMENT",
        "data-type is 'FP32', but model 'colours' expects 'UINT8'",
    ),
    "another shape": (
        {**with_input(shape=[1, 4, 4, 3]), "raw_input_contents": [bytes(48)]},
        "INVALID_ARGUMENT",
        "unexpected shape for input 'image' for model 'colours': "
        "expected [-1,8,8,3], got [1,4,4,3]",
    ),
    "no batch axis": (with_input(shape=[8, 8, 3]), "INVALID_ARGUMENT", "expected [-1,8,8,3]"),
    "negative axis": (with_input(shape=[-1, 8, 8, 3]), "INVALID_ARGUMENT", "[-1,8,8,3]"),
    "empty batch": (
        {**with_input(shape=[0, 8, 8, 3]), "raw_input_contents": [b""]},
        "INVALID_ARGUMENT",
        "batch-size must be >= 1",
    ),
    "axes that no tensor has": (
        {**with_input(shape=[0, 2**62, 2**62, 3]), "raw_input_contents": [b""]},
        "INVALID_ARGUMENT",
        "'image'",
    ),
    "too large a batch": (
        {**with_input(shape=[33, 8, 8, 3]), "raw_input_contents": [bytes(33 * 192)]},
        "INVALID_ARGUMENT",
        "batch-size must be >= 1 and <= 32 for 'colours'",
    ),
    "too few bytes": (
        {"raw_input_contents": [bytes(191)]},
        "INVALID_ARGUMENT",
        "input byte size mismatch for input 'image': expected 192 for UINT8 [1,8,8,3], got 191",
    ),
    "no contents": (
        {"raw_input_contents": []},
        "INVALID_ARGUMENT",
        "unable to find data for input tensor 'image' for model 'colours' in request",
    ),
    "contents too many": (
        {"raw_input_contents": [PIXELS, PIXELS]},
        "INVALID_ARGUMENT",
        "expected 1 raw_input_contents for model 'colours', got 2",
    ),
    "contents twice": (
        with_input(contents={"uint_contents": [1]}),
        "INVALID_ARGUMENT",
        "contents field must not be specified when using raw_input_contents for 'image'",
    ),
    "contents of another type": (
        {**with_input(contents={"fp32_contents": [1.0] * 192}), "raw_input_contents": []},
        "INVALID_ARGUMENT",
        "of type 'UINT8': expected 'uint_contents', got 'fp32_contents'",
    ),
    "contents too few": (
        {**with_input(contents={"uint_contents": [1] * 191}), "raw_input_contents": []},
        "INVALID_ARGUMENT",
        "expected 192 for UINT8 [1,8,8,3], got 191",
    ),
    "contents too large": (
        {**with_input(contents={"uint_contents": [256] * 192}), "raw_input_contents": []},
        "INVALID_ARGUMENT",
        "does not fit UINT8",
    ),
    "half precision without raw contents": (
        {
            **with_input(datatype="FP16", contents={"fp32_contents": [1.0] * 192}),
            "raw_input_contents": [],
        },
        "INVALID_ARGUMENT",
        "expected raw_input_contents",
    ),
    "no image": (
        {"inputs": [BYTES_IMAGE], "raw_input_contents": [b"\4\0\0\0GIF8"]},
        "INVALID_ARGUMENT",
        "image",
    ),
    "an image of a length cut off": (
        {"inputs": [BYTES_IMAGE], "raw_input_contents": [b"\4\0"]},
        "INVALID_ARGUMENT",
        "incomplete string length indicator for input 'image': "
        "expecting 4 bytes but only 2 bytes available",
    ),
    "an image cut off": (
        {"inputs": [BYTES_IMAGE], "raw_input_contents": [b"\xff\0\0\0GIF8"]},
        "INVALID_ARGUMENT",
        "incomplete string element 0 for input 'image': "
        "expecting 255 bytes but only 4 bytes available",
    ),
    "more images than said": (
        {"inputs": [BYTES_IMAGE], "raw_input_contents": [bytes(8)]},
        "INVALID_ARGUMENT",
        "unexpected number of string elements for input 'image': expecting 1",
    ),
    "fewer images than said": (
        {"inputs": [{**BYTES_IMAGE, "shape": [2]}], "raw_input_contents": [bytes(4)]},
        "INVALID_ARGUMENT",
        "expected 2 string elements for input 'image', got 1",
    ),
    "images in a square": (
        {"inputs": [{**BYTES_IMAGE, "shape": [2, 2]}], "raw_input_contents": [bytes(16)]},
        "INVALID_ARGUMENT",
        "of shape [n] or [n,1], not [2, 2]",
    ),
    "no images": (
        {"inputs": [{**BYTES_IMAGE, "shape": [0]}], "raw_input_contents": [b""]},
        "INVALID_ARGUMENT",
        "a call takes 1 to 256 inputs, not 0",
    ),
    "too many images": (
        {"inputs": [{**BYTES_IMAGE, "shape": [257]}], "raw_input_contents": [bytes(4 * 257)]},
        "INVALID_ARGUMENT",
        "a call takes 1 to 256 inputs, not 257",
    ),
    "strings for a model that takes none": (
        {
            "inputs": [{"name": "tokens", "datatype": "BYTES", "shape": [1]}],
            "model_name": "pair.text",
            "raw_input_contents": [b"\1\0\0\0\xff"],
        },
        "INVALID_ARGUMENT",
        "input 0: the text is not UTF-8",
    ),
    "no classes": (
        with_output(classification=0),
        "INVALID_ARGUMENT",
        "'classification' is an integer > 0, not 0",
    ),
    "classes in words": (with_output(classification="2"), "INVALID_ARGUMENT", "not '2'"),
    "negative priority": (
        {"parameters": parameters(priority=-1)},
        "INVALID_ARGUMENT",
        "'priority' is an integer >= 0, not -1",
    ),
    "timeout in words": ({"parameters": parameters(timeout="1")}, "INVALID_ARGUMENT", "'timeout'"),
    "a sequence": ({"parameters": parameters(sequence_id=3)}, "INVALID_ARGUMENT", "'sequence_id'"),
    "a reserved parameter": (
        {"parameters": parameters(triton_other=True)},
        "INVALID_ARGUMENT",
        "'triton_other'",
    ),
    "a region that is not known": (
        {**with_input(parameters=parameters(**SHARED)), "raw_input_contents": []},
        "NOT_FOUND",
        "unable to find shared memory region: 'nowhere'",
    ),
    "a region without size": (
        with_input(parameters=parameters(shared_memory_region="nowhere")),
        "INVALID_ARGUMENT",
        "'shared_memory_byte_size' must be specified along with 'shared_memory_region'",
    ),
    "an offset without region": (
        with_input(parameters=parameters(shared_memory_offset=1)),
        "INVALID_ARGUMENT",
        "'shared_memory_offset' can not be specified without 'shared_memory_region'",
    ),
    "contents beside a region": (
        with_input(parameters=parameters(**SHARED), contents={"uint_contents": [1]}),
        "INVALID_ARGUMENT",
        "unexpected 'content' provided when using shared memory for input tensor 'image'",
    ),
    "an output in words and in a region": (
        with_output(classification=1, **SHARED),
        "INVALID_ARGUMENT",
        "can't set both 'shared_memory_region' and 'classification'",
    ),
    "an output to a region that is not known": (
        with_output(**SHARED),
        "NOT_FOUND",
        "unable to find shared memory region: 'nowhere'",
    ),
}


@pytest.mark.parametrize(("fields", "code", "message"), WRONG.values(), ids=WRONG)
async def test_what_is_wrong_is_told(stub, fields, code, message):
    told = await refused(stub.ModelInfer(raw_request(**fields)))
    assert told[0] == code
    assert message in told[1]
    assert "\n" not in told[1]
    await stub.ModelInfer(raw_request())  # and the server goes on


async def test_the_position_of_a_bad_image_is_told(client, make_picture):
    code, message = await refused(
        client.infer("colours", [encoded(make_picture("red"), b"no image", make_picture("red"))])
    )
    assert code == "INVALID_ARGUMENT"
    assert message.startswith("input 1: ")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OverloadedError("8 requests wait already"), "UNAVAILABLE"),
        (UnavailableError("model 'colours' is building: 43 %"), "UNAVAILABLE"),
    ],
)
async def test_refusals_are_unavailable_as_in_triton(stub, service, monkeypatch, error, code):
    def refuse(request, done, watch):
        done(error)

    monkeypatch.setattr(service._engine, "infer_soon", refuse)
    assert await refused(stub.ModelInfer(raw_request())) == (code, str(error))


async def test_images_that_are_decoded_hold_no_thread_and_end_with_their_caller(
    stub, service, make_picture, monkeypatch
):
    decoding, cancelled = [], []

    async def slow(data, contract):
        decoding.append(data)
        try:
            await asyncio.sleep(30)
        finally:
            cancelled.append(data)

    monkeypatch.setattr(service._images, "prepare", slow)
    file = make_picture("red")
    request = raw_request(
        inputs=[BYTES_IMAGE], raw_input_contents=[len(file).to_bytes(4, "little") + file]
    )
    before = threading.active_count()
    calls = [stub.ModelInfer(request) for _ in range(100)]
    async with asyncio.timeout(10):
        while len(decoding) < 100:
            await asyncio.sleep(0.01)
        assert threading.active_count() <= before + 2
        for call in calls:
            call.cancel()
        while len(cancelled) < 100:
            await asyncio.sleep(0.01)


async def test_unknown_models_have_no_metadata(stub):
    for call in (stub.ModelMetadata, stub.ModelConfig, stub.ModelStatistics):
        message = {
            stub.ModelMetadata: pb.ModelMetadataRequest,
            stub.ModelConfig: pb.ModelConfigRequest,
            stub.ModelStatistics: pb.ModelStatisticsRequest,
        }[call]
        assert (await refused(call(message(name="nothing"))))[0] == "NOT_FOUND"
        code, told = await refused(call(message(name="colours", version="x")))
        assert code == "INVALID_ARGUMENT"
        assert "version string 'x'" in told


async def test_what_is_not_supported_says_so(stub):
    handle = pb.CudaSharedMemoryRegisterRequest(name="x", raw_handle=b"y", byte_size=4)
    for call in (
        stub.CudaSharedMemoryRegister(handle),
        stub.TraceSetting(pb.TraceSettingRequest()),
        stub.LogSettings(pb.LogSettingsRequest()),
        stub.RepositoryIndex(pb.RepositoryIndexRequest(repository_name="other")),
        stub.RepositoryModelLoad(
            pb.RepositoryModelLoadRequest(repository_name="other", model_name="colours")
        ),
        stub.RepositoryModelUnload(
            pb.RepositoryModelUnloadRequest(repository_name="other", model_name="colours")
        ),
    ):
        code, message = await refused(call)
        assert code == "UNIMPLEMENTED"
        assert "not supported" in message
    named = pb.CudaSharedMemoryStatusRequest(name="x")
    assert (await refused(stub.CudaSharedMemoryStatus(named)))[0] == "NOT_FOUND"
    # clients begin with a clean slate
    assert not (await stub.CudaSharedMemoryStatus(pb.CudaSharedMemoryStatusRequest())).regions
    await stub.CudaSharedMemoryUnregister(pb.CudaSharedMemoryUnregisterRequest())


async def test_tensors_go_through_shared_memory(client):
    given = pixels(RED, BLUE)
    region = shm.create_shared_memory_region("both", "/kserve_both", given.nbytes + 24)
    try:
        shm.set_shared_memory_region(region, [given])
        await client.register_system_shared_memory("both", "/kserve_both", given.nbytes + 24)
        status = await client.get_system_shared_memory_status("both", as_json=True)
        assert status["regions"]["both"]["key"] == "/kserve_both"
        image = triton.InferInput("image", given.shape, "UINT8")
        image.set_shared_memory("both", given.nbytes)
        wanted = triton.InferRequestedOutput("probabilities")
        wanted.set_shared_memory("both", 24, offset=given.nbytes)
        answer = await client.infer("colours", [image], outputs=[wanted])
        (told,) = answer.get_response().outputs
        assert (told.name, told.datatype, list(told.shape)) == ("probabilities", "FP32", [2, 3])
        assert list(answer.get_response().raw_output_contents) == [b""]
        written = shm.get_contents_as_numpy(region, np.float32, [2, 3], offset=given.nbytes)
        assert written.argmax(axis=1).tolist() == [0, 2]
        await client.unregister_system_shared_memory("both")
        assert (await refused(client.infer("colours", [image])))[0] == "NOT_FOUND"
    finally:
        shm.destroy_shared_memory_region(region)


async def test_an_encoded_image_goes_through_shared_memory(client, make_picture):
    file = make_picture("blue", (30, 40))
    raw = len(file).to_bytes(4, "little") + file
    region = shm.create_shared_memory_region("file", "/kserve_file", len(raw))
    try:
        shm.set_shared_memory_region(region, [np.frombuffer(raw, np.uint8)])
        await client.register_system_shared_memory("file", "/kserve_file", len(raw))
        image = triton.InferInput("image", [1], "BYTES")
        image.set_shared_memory("file", len(raw))
        answer = await client.infer("colours", [image])
        assert answer.as_numpy("probabilities").argmax() == 2
    finally:
        await client.unregister_system_shared_memory()
        shm.destroy_shared_memory_region(region)


async def test_wrong_regions_are_refused(client):
    region = shm.create_shared_memory_region("small", "/kserve_small", 100)
    register = client.register_system_shared_memory
    try:
        await register("small", "/kserve_small", 60, offset=40)
        for call, code, message in (
            (register("small", "/kserve_small", 1), "ALREADY_EXISTS", "'small' already in manager"),
            (register("b", "/kserve_small", 101), "INVALID_ARGUMENT", "invalid args"),
            (register("b", "/kserve_small", 1, offset=100), "INVALID_ARGUMENT", "invalid args"),
            (register("b", "/kserve_small", 0), "INVALID_ARGUMENT", "invalid args"),
            (register("b", "/nowhere", 1), "INVALID_ARGUMENT", "unable to open"),
            (register("b", "/../etc/hostname", 1), "INVALID_ARGUMENT", "invalid shm key"),
            (register("b", "..", 1), "INVALID_ARGUMENT", "invalid shm key"),
            (register("b", "///", 1), "INVALID_ARGUMENT", "invalid shm key"),
            (register("b", "x" * 300, 1), "INVALID_ARGUMENT", "invalid shm key"),
            (register("", "/kserve_small", 1), "INVALID_ARGUMENT", "has a name"),
        ):
            told = await refused(call)
            assert told[0] == code
            assert message in told[1]
        image = triton.InferInput("image", [1, 8, 8, 3], "UINT8")
        image.set_shared_memory("small", 192)
        code, message = await refused(client.infer("colours", [image]))
        assert code == "INVALID_ARGUMENT"
        assert "invalid offset + byte size for shared memory region: 'small'" in message
        wanted = triton.InferRequestedOutput("probabilities")
        wanted.set_shared_memory("small", 11)
        given = [tensor("image", pixels(RED))]
        code, message = await refused(client.infer("colours", given, outputs=[wanted]))
        assert "(11 bytes) should be at least 12 bytes to hold the results" in message
    finally:
        await client.unregister_system_shared_memory()
        shm.destroy_shared_memory_region(region)
    assert not (await client.get_system_shared_memory_status()).regions
    assert (await refused(client.get_system_shared_memory_status("small")))[0] == "NOT_FOUND"


async def test_a_region_made_shorter_by_its_client_is_refused(client):
    region = shm.create_shared_memory_region("shrunk", "/kserve_shrunk", 8192)
    try:
        await client.register_system_shared_memory("shrunk", "/kserve_shrunk", 8192)
        with open("/dev/shm/kserve_shrunk", "r+b") as file:
            file.truncate(10)
        image = triton.InferInput("image", [1, 8, 8, 3], "UINT8")
        image.set_shared_memory("shrunk", 192, offset=4096)
        code, message = await refused(client.infer("colours", [image]))
        assert (code, message) == (
            "INVALID_ARGUMENT",
            "shared memory region 'shrunk' was made shorter",
        )
    finally:
        await client.unregister_system_shared_memory()
        shm.destroy_shared_memory_region(region)


async def test_a_stream_is_answered_in_order_and_goes_on_after_errors(stub, make_picture):
    colours = [RED, GREEN, BLUE] * 10

    async def requests():
        for place, colour in enumerate(colours):
            given = {"raw_input_contents": [pixels(colour).tobytes()], "id": str(place)}
            if place == 4:
                given["model_name"] = "nothing"
            if place == 5:  # slower than its neighbours
                data = make_picture("blue", (2000, 2000))
                given["inputs"] = [BYTES_IMAGE]
                given["raw_input_contents"] = [len(data).to_bytes(4, "little") + data]
            yield raw_request(**given)

    answers = [answer async for answer in stub.ModelStreamInfer(requests())]
    assert [answer.infer_response.id for answer in answers] == [str(i) for i in range(30)]
    assert "'nothing'" in answers[4].error_message
    assert not answers[4].infer_response.outputs
    for place, answer in enumerate(answers):
        if place != 4:
            assert not answer.error_message
            raw = np.frombuffer(answer.infer_response.raw_output_contents[0], np.float32)
            assert raw.argmax() == place % 3
            assert not answer.infer_response.parameters


async def test_a_stream_reads_on_while_a_request_runs(stub, service, monkeypatch):
    running = []
    both = asyncio.Event()
    loop = asyncio.get_running_loop()
    infer_now = service._engine.infer_now

    def slow(request, watch):
        running.append(request)
        if len(running) == 2:
            loop.call_soon_threadsafe(both.set)
        asyncio.run_coroutine_threadsafe(both.wait(), loop).result(10)
        return infer_now(request, watch)

    monkeypatch.setattr(service._engine, "infer_now", slow)
    call = stub.ModelStreamInfer()
    await call.write(raw_request(id="1"))
    await call.write(raw_request(id="2"))
    assert (await call.read()).infer_response.id == "1"
    assert (await call.read()).infer_response.id == "2"
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_the_final_answer_of_a_stream_is_marked_where_asked(stub):
    asked = parameters(triton_enable_empty_final_response=True)
    call = stub.ModelStreamInfer()
    await call.write(raw_request(parameters=asked))
    answer = (await call.read()).infer_response
    assert answer.parameters["triton_final_response"].bool_param
    assert len(answer.outputs) == 2
    await call.done_writing()


async def test_a_stream_that_is_given_up_leaves_the_server_in_peace(stub):
    call = stub.ModelStreamInfer()
    await call.write(raw_request())
    await call.read()
    call.cancel()
    await stub.ModelInfer(raw_request())


async def test_a_bug_in_a_stream_is_an_internal_error(stub, service, monkeypatch, caplog):
    def broken(request, watch):
        raise RuntimeError("a secret")

    monkeypatch.setattr(service._engine, "infer_now", broken)
    call = stub.ModelStreamInfer()
    await call.write(raw_request(id="9"))
    answer = await call.read()
    await call.done_writing()
    assert (answer.error_message, answer.infer_response.id) == ("internal error", "9")
    assert "a secret" in caplog.text


async def test_the_blocking_client_streams_too(address):
    def ask() -> list[int]:
        found: list[int] = []
        with triton.InferenceServerClient(address) as client:
            client.start_stream(lambda result, error: found.append(error or result))
            for colour in (GREEN, RED):
                client.async_stream_infer("colours", [tensor("image", pixels(colour))])
            client.stop_stream()
        return [int(result.as_numpy("probabilities").argmax()) for result in found]

    assert await asyncio.to_thread(ask) == [1, 0]


async def test_the_index_lists_every_model(client):
    index = (await client.get_model_repository_index()).models
    assert {(each.name, each.version, each.state, each.reason) for each in index} == {
        (name, "1", "READY", "")
        for name in ("colours", "tags", "regions", "glow", "pair.image", "pair.text")
    }


async def test_the_index_speaks_of_states_in_tritons_words(stub, service, monkeypatch):
    states = [
        ModelStatus("a", 1, State.DEGRADED, "cuda is not on this machine"),
        ModelStatus("b", 0, State.ABSENT, "unloaded"),
        ModelStatus("c", 2, State.FAILED, "no graph"),
        ModelStatus("d", 1, State.WARMING),
    ]
    monkeypatch.setattr(service._engine, "models", lambda: states)
    index = (await stub.RepositoryIndex(pb.RepositoryIndexRequest())).models
    assert [(each.name, each.version, each.state, each.reason) for each in index] == [
        ("a", "1", "READY", "degraded: cuda is not on this machine"),
        ("b", "", "UNAVAILABLE", "absent: unloaded"),
        ("c", "2", "UNAVAILABLE", "failed: no graph"),
        ("d", "1", "LOADING", "warming"),
    ]
    ready = (await stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True))).models
    assert [each.name for each in ready] == ["a"]


async def test_statistics_count_what_was_asked(client):
    for _ in range(3):
        await client.infer("colours", [tensor("image", pixels(RED, RED))])
    (told,) = (await client.get_inference_statistics("colours", "1")).model_stats
    assert (told.name, told.version) == ("colours", "1")
    assert told.inference_count == 6
    assert 1 <= told.execution_count <= 3
    assert told.inference_stats.success.count == 3
    assert told.inference_stats.success.ns > 0
    assert sum(each.compute_infer.count for each in told.batch_stats) == told.execution_count
    everything = (await client.get_inference_statistics()).model_stats
    assert len(everything) == 6

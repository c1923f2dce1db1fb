"""The Python client against a real gRPC door."""

import asyncio
import threading

import grpc
import numpy as np
import pytest

from kokeshi import errors
from kokeshi.gateway.client import Client, ServedModel, UnreachableError
from kokeshi.gateway.client.calls import ERRORS, call
from kokeshi.gateway.grpc import make_grpc_server
from kokeshi.gateway.grpc.interceptor import RETRY_AFTER_MS
from kokeshi.gateway.readiness import Readiness
from kokeshi.service import types
from kokeshi.v1 import server_pb2, server_pb2_grpc


@pytest.fixture
async def address(service):
    server = make_grpc_server(service, Readiness(service))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


@pytest.fixture
async def ask(address):
    """Calls the client on a thread, so that the server's loop stays free."""
    with Client(address, timeout_s=20) as client:
        yield lambda name, *given, **named: asyncio.to_thread(
            getattr(client, name), *given, **named
        )


# What stands behind KServe v2, whose clients are others.
OF_KSERVE = {
    "card", "config", "counted", "file", "index", "load", "model_ready", "path", "pbtxt",
    "statistics", "tensors", "unload",
}  # fmt: skip


def test_the_client_has_every_call_of_the_service():
    from kokeshi.service import Service

    own = {name for name in vars(Service) if not name.startswith("_")}
    assert own - {"start", "close", "ready"} - OF_KSERVE <= set(vars(Client))


async def test_classify_answers_as_the_service_does(ask, service, make_picture, tmp_path):
    path = tmp_path / "blue.png"
    path.write_bytes(make_picture("blue"))
    given = [make_picture("red"), path, types.Image(make_picture("green"))]
    answer = await ask("classify", "colours", given, top_k=1)
    own = await service.classify(
        "colours", [types.Image(make_picture(name)) for name in ("red", "blue", "green")], top_k=1
    )
    assert answer.model == own.model
    assert [result.labels[0].name for result in answer.results] == ["red", "blue", "green"]
    scores = [result.labels[0].score for result in own.results]
    assert [result.labels[0].score for result in answer.results] == pytest.approx(scores)


async def test_what_was_not_asked_for_is_left_to_the_server(ask, make_picture):
    answer = await ask("classify", "tags", [make_picture("red")])
    assert [label.name for label in answer.results[0].labels] == ["red"]
    assert answer.results[0].multi_label is True
    every = await ask("classify", "tags", [make_picture("red")], threshold=0.0)
    assert len(every.results[0].labels) == 3


@pytest.mark.parametrize("format", ["png", "rle", "polygons"])
async def test_segment_answers_as_the_service_does(ask, service, make_picture, format):
    data = make_picture("green")
    answer = await ask("segment", "regions", [data], format=format)
    own = await service.segment("regions", [types.Image(data)], format=types.MaskFormat(format))
    (told,), (meant,) = answer.results, own.results
    assert (told.height, told.width) == (10, 20)
    assert told.label_map_png == meant.label_map_png
    assert bool(told.label_map_png) is (format == "png")
    assert [region.rle for region in told.regions] == [region.rle for region in meant.regions]
    for ours, theirs in zip(told.regions, meant.regions, strict=True):
        assert (ours.polygons is None) is (theirs.polygons is None)
        for one, other in zip(ours.polygons or (), theirs.polygons or (), strict=True):
            np.testing.assert_array_equal(one.points, other.points)


async def test_vectors_come_in_every_encoding(ask, make_picture):
    exact = await ask("embed", "colours", [make_picture("red")], dimension=3)
    assert exact.vectors[0].values.dtype == np.float32
    assert exact.vectors[0].values.shape == (exact.dimension,) == (3,)
    halves = await ask("embed", "colours", [make_picture("red")], dimension=3, encoding="float16")
    assert halves.vectors[0].values is None
    read = np.frombuffer(halves.vectors[0].data, "<f2")
    np.testing.assert_allclose(read, exact.vectors[0].values, atol=1e-3)
    small = await ask("embed", "colours", [make_picture("red")], encoding=types.Encoding.INT8)
    assert small.vectors[0].scale > 0


async def test_texts_and_raw_pixels_are_inputs(ask):
    words = await ask("embed", "pair", ["red"])
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[..., 0] = 255
    raw = await ask("embed", "pair", [pixels])
    assert words.space == raw.space
    best = await ask("compare", "pair", "red", pixels)
    worst = await ask("compare", "pair", "blue", types.Tensor(pixels))
    assert best.similarity > worst.similarity
    assert best.verdict is types.Verdict.NONE
    assert best.threshold is None


async def test_compare_tells_the_verdict(ask, make_picture):
    same = await ask("compare", "colours", make_picture("red"), make_picture("red"))
    assert same.verdict is types.Verdict.SAME
    assert same.threshold == pytest.approx(0.9)


async def test_a_collection_lives_and_ends(ask, make_picture):
    made = await ask("create_collection", "c", "colours", index="flat", durability="os")
    assert (made.index, made.durability, made.dimensions) == ("flat", "os", [2, 3, 4])
    vector = np.array([0, 0, 0, 1], np.float32)
    items = [
        types.NewItem("red", types.Image(make_picture("red")), {"n": 1, "tags": ["a"]}),
        types.NewItem("grey", types.Tensor(vector)),
    ]
    written = await ask("add_items", "c", items, space=made.space)
    assert written.count == 2
    assert (await ask("describe_collection", "c")).count == 2
    found = await ask("search", "c", [make_picture("red")], k=1, mode="exact", with_vectors=True)
    (hit,) = found.results[0]
    assert (hit.id, hit.metadata) == ("red", {"n": 1, "tags": ["a"]})
    assert hit.score == pytest.approx(1)
    assert hit.vector.shape == (4,)
    with pytest.raises(errors.AlreadyExistsError, match="red"):
        await ask("add_items", "c", items[:1])
    await ask("add_items", "c", items[:1], on_conflict="replace")
    assert (await ask("delete_items", "c", ["red", "absent"])).count == 1
    assert [info.name for info in await ask("list_collections")] == ["c"]
    await ask("delete_collection", "c")
    assert await ask("list_collections") == []


async def test_items_are_read_back(ask):
    space = (await ask("create_collection", "c", "colours")).space
    vectors = np.eye(4, dtype=np.float32)
    items = [types.NewItem(str(i), types.Tensor(row), {"i": i}) for i, row in enumerate(vectors)]
    written = await ask("add_items", "c", items, space=space, request_id="once")
    assert await ask("add_items", "c", items, space=space, request_id="once") == written
    (one,) = await ask("get_items", "c", ["2"], with_vectors=True)
    assert (one.id, one.metadata) == ("2", {"i": 2})
    np.testing.assert_array_equal(one.vector, vectors[2])
    page = await ask("list_items", "c", page_size=3)
    rest = await ask("list_items", "c", page_size=3, page_token=page.next_page_token)
    assert [item.id for item in [*page.items, *rest.items]] == ["0", "1", "2", "3"]
    assert page.items[0].vector is None
    assert rest.next_page_token == ""


async def test_models_and_the_server_tell_of_themselves(ask, service):
    models = {model.name: model for model in await ask("models")}
    assert set(models) == {info.name for info in service.models()}
    assert models["colours"].card is None
    one = await ask("model", "colours", 1)
    assert isinstance(one, ServedModel)
    assert one.card == service.model("colours").card
    assert (one.tasks, one.dimensions) == (["classification", "embedding"], [2, 3, 4])
    told, own = await ask("info"), service.info()
    assert (told.version, told.limits, told.engine) == (own.version, own.limits, own.engine)


async def test_statuses_become_errors_again(ask, make_picture):
    with pytest.raises(errors.NotFoundError, match="'absent'"):
        await ask("classify", "absent", [make_picture("red")])
    with pytest.raises(errors.InvalidRequestError, match="image"):
        await ask("classify", "colours", [b"no picture"])
    await ask("create_collection", "c", "colours")
    with pytest.raises(errors.SpaceMismatchError, match="space"):
        await ask("search", "c", [np.ones(4, np.float32)], space="0" * 16)


async def test_what_cannot_be_sent_is_refused_before(ask, make_picture):
    for given in (
        {"top_k": -1},
        {"top_k": 2**32},
        {"version": "one"},
    ):
        with pytest.raises(errors.InvalidRequestError, match="cannot be sent"):
            await ask("classify", "colours", [make_picture("red")], **given)
    with pytest.raises(errors.InvalidRequestError, match="cannot be sent"):
        await ask("segment", "regions", [make_picture("red")], format="jpeg")
    with pytest.raises(errors.InvalidRequestError, match="a list, even of one"):
        await ask("embed", "pair", "red")
    with pytest.raises(errors.InvalidRequestError, match="not 'int'"):
        await ask("embed", "pair", [3])
    with pytest.raises(errors.InvalidRequestError, match="not float64"):
        await ask("embed", "pair", [np.zeros(4)])
    with pytest.raises(errors.InvalidRequestError, match="metadata is not JSON"):
        await ask("add_items", "c", [types.NewItem("a", types.Text("b"), {"c": object()})])


def test_no_server_is_told_apart_from_a_server_that_is_not_ready():
    unreachable = pytest.raises(UnreachableError, match=r"no server answers at '127.0.0.1:9'")
    with Client("127.0.0.1:9", timeout_s=5) as client, unreachable:
        client.info()
    assert issubclass(UnreachableError, errors.UnavailableError)


class Refusing(server_pb2_grpc.ServerServicer):
    """Answers every call with the status and the metadata that it was made with."""

    def __init__(self, code, metadata):
        self.code, self.metadata = code, metadata

    def GetServerInfo(self, request, context):
        context.set_trailing_metadata(self.metadata)
        context.abort(self.code, "told")


def refused(code, *metadata):
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(1))
    server_pb2_grpc.add_ServerServicer_to_server(Refusing(code, metadata), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with Client(f"127.0.0.1:{port}") as client, pytest.raises(errors.KokeshiError) as caught:
            client.info()
    finally:
        server.stop(0).wait()
    return caught.value


FROM_SERVER = ("x-request-id", "1")


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_status_has_its_error(code):
    error = refused(grpc.StatusCode[code], FROM_SERVER, (RETRY_AFTER_MS, "250"))
    assert type(error) is ERRORS[code]
    assert (error.code, str(error)) == (code, "told")


def test_every_code_of_the_table_is_known():
    assert set(ERRORS) == set(errors.HTTP_STATUS)


def test_a_full_queue_says_when_to_come_back_and_a_large_request_never():
    full = refused(grpc.StatusCode.RESOURCE_EXHAUSTED, FROM_SERVER, (RETRY_AFTER_MS, "250"))
    assert full.retry_after_s == 0.25
    large = refused(grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert isinstance(large, errors.TooLargeError)


def test_a_status_that_no_kokeshi_sends_is_an_error_still():
    assert type(refused(grpc.StatusCode.DATA_LOSS)) is errors.KokeshiError


def test_a_server_that_says_nothing_runs_into_the_deadline():
    waiting = threading.Event()

    def never(request, timeout):
        channel = grpc.insecure_channel("127.0.0.1:9")
        method = channel.unary_unary("/x/y")
        try:
            return method(b"", timeout=timeout, wait_for_ready=True)
        finally:
            waiting.set()
            channel.close()

    request = server_pb2.GetServerInfoRequest()
    with pytest.raises(errors.DeadlineError, match=r"no answer from 'there' within 0.2 s"):
        call(never, request, address="there", timeout_s=0.2)
    assert waiting.is_set()

"""Writes of collections through real sockets: tenants, filters, counts and streams of batches."""

import asyncio
import json
import threading
from dataclasses import replace

import httpx
import numpy as np
import pytest
from grpc import aio

from kokeshi import errors
from kokeshi.gateway.client import Client
from kokeshi.gateway.serve import doors
from kokeshi.service.collections import CollectionCalls
from kokeshi.service.types import (
    Image,
    IngestBatch,
    IngestOptions,
    NewItem,
    OnConflict,
    SearchOptions,
    SearchWords,
    Tenant,
    Tensor,
)
from kokeshi.v1 import collections_pb2 as pb
from kokeshi.v1 import collections_pb2_grpc

COLOURS = {"red": (1, 0, 0, 0), "green": (0, 1, 0, 0), "blue": (0, 0, 1, 0)}


@pytest.fixture
async def addresses(service):
    async with doors(service, http="127.0.0.1:0", grpc="127.0.0.1:0", notice_s=0) as opened:
        yield opened


@pytest.fixture
async def ask(addresses):
    with Client(addresses.grpc, timeout_s=20) as client:
        yield lambda name, *given, **named: asyncio.to_thread(
            lambda: _whole(getattr(client, name)(*given, **named))
        )


def _whole(answer):
    return list(answer) if hasattr(answer, "__next__") else answer


@pytest.fixture
async def http(addresses):
    async with httpx.AsyncClient(base_url=f"http://{addresses.http}", timeout=20) as client:
        yield client


@pytest.fixture
async def space(service):
    return (await service.create_collection("things", "colours")).space


def thing(item_id, values, **metadata):
    return NewItem(item_id, Tensor(np.array(values, np.float32)), metadata)


def test_the_client_has_every_call_of_collections():
    own = {name for name in vars(CollectionCalls) if not name.startswith("_")}
    # one of two ways of `search`, for doors with threads of their own
    assert own - {"collection_limits", "search_at_once"} <= set(dir(Client))


def test_the_words_of_a_search_are_its_options():
    assert list(SearchWords.__annotations__) == list(SearchOptions.__dataclass_fields__)


async def test_tenants_see_their_own_items_at_both_doors(ask, http, space):
    for tenant, colour in (("a", "red"), ("b", "blue"), ("", "green")):
        item = thing("one", COLOURS[colour], colour=colour)
        written = await ask("add_items", "things", [item], space=space, tenant=tenant)
        assert written.sequence
    for tenant, colour in (("a", "red"), ("b", "blue"), ("", "green")):
        (item,) = await ask("get_items", "things", ["one"], tenant=tenant)
        assert item.metadata == {"colour": colour}
        told = await http.get(f"/v1/collections/things/items/one?tenant={tenant}")
        assert told.json()["metadata"] == {"colour": colour}
        assert await ask("count_items", "things", tenant=tenant) == 1
        vector = np.array(COLOURS["red"], np.float32)
        found = await ask("search", "things", [vector], space=space, tenant=tenant)
        assert [hit.metadata["colour"] for hit in found.results[0]] == [colour]
    gone = await http.delete("/v1/collections/things/items/one?tenant=a")
    assert gone.json()["count"] == 1
    assert await ask("count_items", "things", tenant="a") == 0
    assert await ask("count_items", "things", tenant="b") == 1


async def test_tenants_are_listed_alike_at_both_doors(ask, http, space):
    assert await ask("list_tenants", "things") == []
    for tenant, count in (("b", 2), ("", 1), ("ä/ö", 3)):
        items = [thing(f"i{n}", COLOURS["red"]) for n in range(count)]
        await ask("add_items", "things", items, space=space, tenant=tenant)
    found = [Tenant("", 1), Tenant("b", 2), Tenant("ä/ö", 3)]
    assert await ask("list_tenants", "things") == found
    told = await http.get("/v1/collections/things/tenants")
    assert told.json() == {"tenants": [vars(tenant) for tenant in found]}
    await ask("delete_items", "things", ["i0", "i1"], tenant="b")
    assert [tenant.name for tenant in await ask("list_tenants", "things")] == ["", "ä/ö"]


async def test_more_tenants_than_may_be_listed_are_refused_at_both_doors(ask, http, service, space):
    ground = service._collections.ground
    ground.collection_limits = replace(ground.collection_limits, max_tenants=2)
    for tenant in ("a", "b"):
        await ask("add_items", "things", [thing("i", COLOURS["red"])], space=space, tenant=tenant)
    assert len(await ask("list_tenants", "things")) == 2
    await ask("add_items", "things", [thing("i", COLOURS["red"])], space=space)
    with pytest.raises(errors.InvalidRequestError, match="at most 2 tenants are listed"):
        await ask("list_tenants", "things")
    told = await http.get("/v1/collections/things/tenants")
    assert (told.status_code, told.json()["error"]["code"]) == (400, "INVALID_ARGUMENT")


async def test_lists_counts_and_deletes_take_a_filter(ask, http, space):
    items = [thing(f"i{n}", COLOURS["red"], n=n, even=n % 2 == 0) for n in range(6)]
    await ask("add_items", "things", items, space=space)
    wanted = {"even": True}
    assert await ask("count_items", "things", filter=wanted) == 3
    counted = await http.post("/v1/collections/things/items/count", json={"filter": wanted})
    assert counted.json() == {"count": 3}
    page = await ask("list_items", "things", filter=wanted, page_size=2)
    assert [item.id for item in page.items] == ["i0", "i2"]
    told = await http.get(
        "/v1/collections/things/items",
        params={"filter": json.dumps(wanted), "page_token": page.next_page_token},
    )
    assert [item["id"] for item in told.json()["items"]] == ["i4"]
    written = await ask("delete_items", "things", filter={"n": {"gte": 4}})
    assert written.count == 2
    body = {"filter": {"n": {"lt": 1}}}
    gone = await http.post("/v1/collections/things/items/delete", json=body)
    assert gone.json()["count"] == 1
    assert await ask("count_items", "things") == 3


@pytest.mark.parametrize(
    ("call", "given", "expected"),
    [
        ("delete_items", {"ids": ["a"], "filter": {}}, "ids or a filter"),
        ("delete_items", {}, "expected ids or a filter to delete by, got neither"),
        ("list_items", {"page_size": 1001}, "page_size is from 1 to 1000, not 1001"),
        ("list_items", {"page_size": 20_000}, "page_size is from 1 to 1000, not 20000"),
        ("count_items", {"filter": {"n": {"above": 1}}}, "filter.n"),
        ("list_items", {"filter": {"n": {"in": 3}}}, "a list of values"),
        ("count_items", {"tenant": "\n"}, "a tenant is at most"),
    ],
)
async def test_what_can_never_be_right_is_refused(ask, space, call, given, expected):
    with pytest.raises(errors.InvalidRequestError, match=expected):
        await ask(call, "things", **given)


async def test_a_filter_that_is_no_object_is_refused_at_both_doors(addresses, http, space):
    told = await http.get("/v1/collections/things/items", params={"filter": "[1]"})
    assert told.status_code == 400
    async with aio.insecure_channel(addresses.grpc) as channel:
        stub = collections_pb2_grpc.CollectionsStub(channel)
        with pytest.raises(aio.AioRpcError, match="filter_json is a JSON object"):
            await stub.CountItems(pb.CountItemsRequest(collection="things", filter_json="[1]"))


async def test_one_bad_item_does_not_stop_the_others(ask, service, space, make_picture):
    await service.add_items("things", [thing("there", COLOURS["red"])], space=space)
    items = [
        NewItem("good", Image(make_picture("red"))),
        NewItem("broken", Image(b"no picture")),
        thing("short", (1, 2)),
        thing("nan", (1, np.nan, 0, 0)),
        thing("there", COLOURS["blue"]),
        thing("good", COLOURS["blue"]),
        thing("", COLOURS["blue"]),
        thing("also", COLOURS["blue"], n=1),
    ]
    (told,) = await ask("ingest", "things", [(7, items)], space=space, stream_id="s")
    assert (told.offset, told.count) == (7, 2)
    assert told.sequence
    codes = {each.position: (each.id, each.code) for each in told.errors}
    assert codes == {
        1: ("broken", "INVALID_ARGUMENT"),
        2: ("short", "INVALID_ARGUMENT"),
        3: ("nan", "INVALID_ARGUMENT"),
        4: ("there", "ALREADY_EXISTS"),
        5: ("good", "INVALID_ARGUMENT"),
        6: ("", "INVALID_ARGUMENT"),
    }
    assert all(each.message for each in told.errors)
    again = await ask("ingest", "things", [(7, items)], space=space, stream_id="s")
    assert again == [told]
    assert await ask("count_items", "things") == 3


async def test_a_stream_that_comes_again_stores_nothing_twice(ask, space, make_picture):
    red = make_picture("red")
    batches = [
        (offset, [NewItem(f"i{offset}", Image(red)), thing(f"v{offset}", COLOURS["green"])])
        for offset in range(0, 10, 2)
    ]
    first = await ask("ingest", "things", batches[:3], stream_id="s", space=space)
    again = await ask("ingest", "things", batches, stream_id="s", space=space)
    assert again[:3] == first
    assert [told.offset for told in again] == [0, 2, 4, 6, 8]
    assert all(told.count == 2 and not told.errors for told in again)
    sequences = [told.sequence for told in again]
    assert sequences == sorted(set(sequences))
    assert await ask("count_items", "things") == 10
    other = await ask("ingest", "things", batches[:1], stream_id="t", space=space)
    assert [each.code for each in other[0].errors] == ["ALREADY_EXISTS", "ALREADY_EXISTS"]


async def test_a_batch_whose_vectors_differ_in_a_last_bit_is_still_the_same(service, space):
    """What embeds a batch may round otherwise the next time."""
    shade = [0.5]

    async def ingest():
        original = service._collections.ground.vectors

        async def vectors(spec, model, inputs, given, timeout_s):
            return [np.array([shade[0], 0.5, 0, 0], np.float32) for _ in inputs]

        service._collections.ground.vectors = vectors
        try:

            async def batches():
                yield IngestBatch(0, [NewItem("i", Image(b"x"), {"n": 1})])

            options = IngestOptions(stream_id="s")
            return [told async for told in service.ingest("things", batches(), options)]
        finally:
            service._collections.ground.vectors = original

    first = await ingest()
    shade[0] = float(np.nextafter(np.float32(0.5), np.float32(1)))
    assert await ingest() == first
    assert first[0].count == 1
    assert not first[0].errors


async def test_a_stream_is_not_read_while_its_batches_are_under_way(service, space):
    """Back-pressure: the bound is on batches that were read and not answered."""
    most = service.collection_limits.max_ingest_batches
    read = answered = worst = 0
    gate = asyncio.Event()
    original = service._collections.ground.vectors

    async def vectors(*given):
        await gate.wait()
        return await original(*given)

    service._collections.ground.vectors = vectors

    async def batches():
        nonlocal read, worst
        for offset in range(3 * most):
            read += 1
            worst = max(worst, read - answered)
            yield IngestBatch(offset, [thing(f"i{offset}", COLOURS["red"])])

    async def run():
        nonlocal answered
        async for _ in service.ingest("things", batches(), IngestOptions(space=space)):
            answered += 1

    task = asyncio.create_task(run())
    await asyncio.sleep(0.2)
    assert read == most
    gate.set()
    await task
    assert answered == 3 * most
    assert worst <= most + 1


async def test_later_batches_win_whatever_is_embedded_first(service, space, make_picture):
    async def batches():
        yield IngestBatch(0, [NewItem("same", Image(make_picture("red", (2000, 2000))), {"n": 0})])
        yield IngestBatch(1, [thing("same", COLOURS["blue"], n=1)])

    options = IngestOptions(space=space, on_conflict=OnConflict.REPLACE)
    told = [each async for each in service.ingest("things", batches(), options)]
    assert [each.offset for each in told] == [0, 1]
    (item,) = await service.get_items("things", ["same"])
    assert item.metadata == {"n": 1}


async def test_what_is_wrong_with_a_stream_ends_it_and_keeps_what_was_answered(ask, space):
    batches = [(5, [thing("a", COLOURS["red"])]), (5, [thing("b", COLOURS["red"])])]
    with pytest.raises(errors.InvalidRequestError, match="offsets of batches ascend"):
        await ask("ingest", "things", batches, space=space)
    assert await ask("count_items", "things") == 1
    with pytest.raises(errors.NotFoundError, match="no collection 'none'"):
        await ask("ingest", "none", batches)
    with pytest.raises(errors.InvalidRequestError, match="the stream held no batch"):
        await ask("ingest", "things", [])
    with pytest.raises(errors.InvalidRequestError, match="a batch has 1 to 256 items, not 0"):
        await ask("ingest", "things", [(0, [])])
    with pytest.raises(errors.InvalidRequestError, match="at most 64 characters"):
        await ask("ingest", "things", batches, stream_id="s" * 65)


async def test_vectors_of_another_space_are_refused_item_by_item(ask, space, make_picture):
    items = [thing("v", COLOURS["red"]), NewItem("i", Image(make_picture("red")))]
    (told,) = await ask("ingest", "things", [(0, items)])
    assert [(each.id, each.code) for each in told.errors] == [("v", "FAILED_PRECONDITION")]
    assert told.count == 1


async def test_the_http_door_answers_each_line_while_the_next_is_not_sent_yet(http, space):
    goon = asyncio.Event()

    def line(offset, *ids):
        items = [{"id": each, "input": {"tensor": {"values": [1, 0, 0, 0]}}} for each in ids]
        return json.dumps({"offset": offset, "items": items}).encode() + b"\n"

    async def body():
        yield line(0, "a", "b")
        await asyncio.wait_for(goon.wait(), 10)
        yield line(2, "c", "a")

    # a client of its own connection reads while it writes
    host, _, port = str(http.base_url.netloc, "ascii").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    path = f"/v1/collections/things/items:ingest?space={space}&stream_id=s"
    head = (
        f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\n"
        "transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    )
    writer.write(head.encode())
    answers = []
    async for chunk in body():
        writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        await writer.drain()
        while True:
            told = await asyncio.wait_for(reader.readline(), 10)
            if told.startswith(b"{"):
                answers.append(json.loads(told))
                break
        goon.set()
    writer.write(b"0\r\n\r\n")
    await writer.drain()
    await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    assert [(told["offset"], told["count"]) for told in answers] == [(0, 2), (2, 1)]
    assert answers[0]["errors"] == []
    assert [each["code"] for each in answers[1]["errors"]] == ["ALREADY_EXISTS"]


async def test_a_line_that_cannot_be_read_is_the_last_of_the_answer(http, space):
    body = b'{"offset": 0, "items": [{"id": "a"}, 3]}\n{"offset": 1}\n'
    told = await http.post(
        "/v1/collections/things/items:ingest",
        content=body,
        headers={"content-type": "application/x-ndjson"},
    )
    assert told.status_code == 200
    first, last = map(json.loads, told.text.splitlines())
    assert [each["id"] for each in first["errors"]] == ["a", ""]
    assert first["count"] == 0
    assert last["error"]["code"] == "INVALID_ARGUMENT"
    assert last["error"]["message"] == "line 2: field 'items' is required"
    missing = await http.post(
        "/v1/collections/none/items:ingest",
        content=body,
        headers={"content-type": "application/x-ndjson"},
    )
    assert missing.status_code == 404


async def test_streams_are_counted_and_timed(ask, http, space):
    from kokeshi.metrics import REGISTRY

    def count(door):
        labels = {"door": door, "call": "Ingest", "code": "OK"}
        return REGISTRY.get_sample_value("kokeshi_requests_total", labels) or 0

    before = count("grpc"), count("http")
    await ask("ingest", "things", [(0, [thing("a", COLOURS["red"])])], space=space)
    await http.post(
        "/v1/collections/things/items:ingest",
        content=b'{"offset": 0, "items": [{"id": "b"}]}\n',
        headers={"content-type": "application/x-ndjson"},
    )
    assert (count("grpc"), count("http")) == (before[0] + 1, before[1] + 1)


async def test_a_client_that_leaves_leaves_nothing_running(service, addresses, space):
    tasks = {task.get_name() for task in asyncio.all_tasks()}
    async with aio.insecure_channel(addresses.grpc) as channel:
        call = collections_pb2_grpc.CollectionsStub(channel).Ingest()
        tensor = {"data_type": 2, "shape": [4], "data": np.array([1, 0, 0, 0], "<f4").tobytes()}
        item = pb.NewItem(id="a")
        item.input.tensor.CopyFrom(type(item.input.tensor)(**tensor))
        await call.write(pb.IngestRequest(collection="things", space=space, items=[item]))
        assert (await call.read()).count == 1
        call.cancel()
    for _ in range(100):
        await asyncio.sleep(0.02)
        left = [t for t in asyncio.all_tasks() if t.get_name() not in tasks]
        if not left:
            break
    assert not left, left
    assert await service.count_items("things") == 1


async def test_a_request_that_the_clients_own_source_cannot_make_is_its_error(ask, space):
    def batches():
        yield 0, [thing("a", COLOURS["red"])]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await ask("ingest", "things", batches(), space=space)
    assert threading.active_count() < 60


async def test_an_ingest_that_is_closed_ends_on_the_server_too(addresses, service, space):
    """Its source has no end: but for the close, the call would go on for ever."""
    sent = 0

    def batches():
        nonlocal sent
        while True:
            sent += 1
            yield sent, [thing(f"n{sent}", COLOURS["red"])]

    def first_two():
        with Client(addresses.grpc, timeout_s=20) as client:
            told = client.ingest("things", batches(), space=space)
            counts = [next(told).count, next(told).count]
            told.close()
            searched = client.search_stream("things", iter([]))
            searched.close()
            return counts, list(told)

    assert await asyncio.to_thread(first_two) == ([1, 1], [])
    counted = -1
    for _ in range(100):
        before, counted = counted, await service.count_items("things")
        if before == counted:
            break
        await asyncio.sleep(0.05)
    assert before == counted >= 2


WIDE = "1" + "0" * 30


async def test_integers_of_metadata_beyond_64_bits_are_refused_and_not_rounded(
    addresses, http, space, make_picture
):
    words = "metadata of 'a' is not JSON: Integer exceeds 64-bit range"
    vector = '{"tensor": {"values": [1, 0, 0, 0]}}'
    item = f'{{"id": "a", "input": {vector}, "metadata": {{"n": [{WIDE}]}}}}'
    fine = f'{{"id": "b", "input": {vector}, "metadata": {{"n": 1e30, "m": 18446744073709551615}}}}'
    path, line = "/v1/collections/things/items", {"content-type": "application/x-ndjson"}
    as_json = {"content-type": "application/json"}
    body = f'{{"space": "{space}", "items": [{fine}, {item}]}}'
    told = await http.post(path, content=body, headers=as_json)
    assert (told.status_code, told.json()["error"]["message"]) == (400, words)
    told = await http.post(f"{path}/stream?space={space}", content=item, headers=line)
    assert (told.status_code, words in told.json()["error"]["message"]) == (400, True)
    batch = f'{{"offset": 0, "items": [{item}, {fine}]}}'
    told = await http.post(f"{path}:ingest?space={space}", content=batch, headers=line)
    assert told.json()["count"] == 1
    assert [(each["id"], each["message"]) for each in told.json()["errors"]] == [("a", words)]
    files = {"image": ("a", make_picture("red"), "image/png")}
    told = await http.post(path, files=files, data={"metadata": f'{{"n": {WIDE}}}'})
    assert (told.status_code, told.json()["error"]["message"]) == (400, words)
    async with aio.insecure_channel(addresses.grpc) as channel:
        new = pb.NewItem(id="a", metadata_json=f'{{"n": {WIDE}}}')
        new.input.image.data = make_picture("red")
        request = pb.AddItemsRequest(collection="things", items=[new])
        with pytest.raises(aio.AioRpcError) as refused:
            await collections_pb2_grpc.CollectionsStub(channel).AddItems(request)
    assert refused.value.details() == words
    (kept,) = (await http.get(path)).json()["items"]
    assert kept["metadata"] == {"n": 1e30, "m": 2**64 - 1}
    assert isinstance(kept["metadata"]["n"], float)


async def test_a_page_token_is_of_its_own_listing_alone(ask, http, service, space):
    await service.create_collection("others", "colours")
    items = [thing(f"i{n}", COLOURS["red"], n=n) for n in range(4)]
    for name, tenant in (("things", ""), ("things", "a"), ("others", "")):
        await ask("add_items", name, items, space=space, tenant=tenant)
    wanted = {"n": {"gte": 0}}
    token = (await ask("list_items", "things", page_size=2)).next_page_token
    page = await ask("list_items", "things", page_size=3, page_token=token, with_vectors=True)
    assert [item.id for item in page.items] == ["i2", "i3"]
    for name, how in (
        ("others", {}),
        ("things", {"tenant": "a"}),
        ("things", {"filter": wanted}),
    ):
        with pytest.raises(errors.InvalidRequestError, match="that of another listing"):
            await ask("list_items", name, page_token=token, **how)
    told = await http.get("/v1/collections/others/items", params={"page_token": token})
    assert (told.status_code, told.json()["error"]["code"]) == (400, "INVALID_ARGUMENT")
    await service.delete_collection("things")
    await service.create_collection("things", "colours")
    await ask("add_items", "things", items, space=space)
    with pytest.raises(errors.InvalidRequestError, match="that of another collection"):
        await ask("list_items", "things", page_token=token)


@pytest.mark.parametrize("conflict", OnConflict)
async def test_other_items_under_a_known_offset_are_refused_whatever_became_of_the_first(
    service, space, make_picture, conflict
):
    """A batch of which some items were refused has taken its place in the stream, too."""
    red, blue = Image(make_picture("red")), Image(make_picture("blue"))
    cases = {
        "whole": ([thing("a", COLOURS["red"])], [thing("b", COLOURS["red"])]),
        "bad": ([thing("c", COLOURS["red"]), thing("d", (1, 2))], [thing("e", COLOURS["red"])]),
        "there": (
            [thing("old", COLOURS["blue"]), thing("f", COLOURS["red"]), thing("g", (1, 0, 0, 1))],
            [thing("h", COLOURS["red"]), thing("i", COLOURS["red"])],
        ),
        "picture": ([NewItem("j", red)], [NewItem("j", blue)]),
    }
    await service.add_items("things", [thing("old", COLOURS["red"])], space=space)

    async def ingest(stream, items):
        async def batches():
            yield IngestBatch(3, items)

        options = IngestOptions(stream_id=stream, space=space, on_conflict=conflict)
        return [told async for told in service.ingest("things", batches(), options)]

    for stream, (first, others) in cases.items():
        (told,) = await ingest(stream, first)
        assert told.count, stream
        assert await ingest(stream, first) == [told], "what comes again is answered alike"
        before = await service.list_items("things", with_vectors=True)
        (refused,) = await ingest(stream, others)
        assert (refused.count, len(refused.errors)) == (0, len(others)), stream
        after = await service.list_items("things", with_vectors=True)
        assert [(item.id, item.sequence) for item in after.items] == [
            (item.id, item.sequence) for item in before.items
        ]

"""2,000 requests at once, mixed over both doors and every task; every answer is checked."""

import asyncio
import base64
import io
import json
from collections import Counter

import httpx
import numpy as np
import pytest
from grpc import StatusCode, aio
from PIL import Image as Picture

from kokeshi.v1 import (
    collections_pb2,
    collections_pb2_grpc,
    inputs_pb2,
    vision_pb2,
    vision_pb2_grpc,
)
from kokeshi_plugins.digits.data import picture, scans, scenes

pytestmark = pytest.mark.export

REQUESTS = 2000


def _encoded(image, format="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, format)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def pictures():
    return [_encoded(picture(ink, 40)) for ink in scans("held_out").ink[:60]]


@pytest.fixture(scope="module")
def views():
    return [_encoded(Picture.fromarray(image)) for image in scenes("held_out", 10, seed=3)[0]]


class Client:
    """The same questions by either door; each answers in one plain form."""

    def __init__(self, http, channel):
        self.http = http
        self.vision = vision_pb2_grpc.VisionStub(channel)
        self.collections = collections_pb2_grpc.CollectionsStub(channel)

    async def _post(self, path, **body):
        answer = await self.http.post(path, json=body)
        return answer.json() if answer.status_code == 200 else answer.status_code

    async def _call(self, call, request):
        try:
            return await call(request)
        except aio.AioRpcError as error:
            return error.code()

    async def classify(self, door, data):
        if door == "http":
            answer = await self._post("/v1/models/digits/classify", inputs=[_json(data)])
            return answer["results"][0]["labels"][0]["name"]
        request = vision_pb2.ClassifyRequest(model="digits", inputs=[_proto(data)])
        return (await self._call(self.vision.Classify, request)).results[0].labels[0].name

    async def embed(self, door, data):
        if door == "http":
            answer = await self._post("/v1/models/digits_mrl/embed", inputs=[_json(data)])
            values = answer["vectors"][0]["values"]
        else:
            request = vision_pb2.EmbedRequest(model="digits_mrl", inputs=[_proto(data)])
            values = (await self._call(self.vision.Embed, request)).vectors[0].values
        return np.round(np.array(values, np.float64), 3) + 0.0

    async def segment(self, door, data):
        if door == "http":
            answer = await self._post("/v1/models/digit_scenes/segment", inputs=[_json(data)])
            return base64.b64decode(answer["results"][0]["label_map_png"])
        request = vision_pb2.SegmentRequest(model="digit_scenes", inputs=[_proto(data)])
        return (await self._call(self.vision.Segment, request)).results[0].label_map_png

    async def search(self, door, data):
        if door == "http":
            answer = await self._post(
                "/v1/collections/mixed/search", queries=[_json(data)], k=1, mode="exact"
            )
            return answer["results"][0]["hits"][0]["id"]
        request = collections_pb2.SearchRequest(
            collection="mixed",
            queries=[_proto(data)],
            k=1,
            mode=collections_pb2.SEARCH_MODE_EXACT,
        )
        return (await self._call(self.collections.Search, request)).results[0].hits[0].id

    async def add(self, door, data, name):
        if door == "http":
            items = [{"id": name, "input": _json(data), "metadata": {"by": door}}]
            return (await self._post("/v1/collections/added/items", items=items))["count"]
        item = collections_pb2.NewItem(id=name, input=_proto(data), metadata_json='{"by":"grpc"}')
        request = collections_pb2.AddItemsRequest(collection="added", items=[item])
        return (await self._call(self.collections.AddItems, request)).count

    async def refused(self, door, data):
        if door == "http":
            return await self._post("/v1/models/digits/classify", inputs=[_json(b"no image")])
        request = vision_pb2.ClassifyRequest(model="digits", inputs=[_proto(b"no image")])
        return await self._call(self.vision.Classify, request)


def _json(data):
    return {"image": base64.b64encode(data).decode()}


def _proto(data):
    return inputs_pb2.Input(image=inputs_pb2.Image(data=data))


async def test_no_answer_is_wrong_or_lost(server, pictures, views):
    limits = httpx.Limits(max_connections=200)
    async with (
        httpx.AsyncClient(base_url=f"http://{server.http}", limits=limits, timeout=120) as http,
        aio.insecure_channel(server.grpc) as channel,
    ):
        client = Client(http, channel)
        await _fill(client, pictures)
        expected = await _expected(client, pictures, views)
        outcomes = await asyncio.gather(
            *(_one(client, number, pictures, views, expected) for number in range(REQUESTS))
        )
        assert Counter(outcomes) == {True: REQUESTS}
        info = await client.collections.DescribeCollection(
            collections_pb2.DescribeCollectionRequest(name="added")
        )
        assert info.count == sum(number % 6 == 4 for number in range(REQUESTS))


async def _fill(client, pictures):
    for name in ("mixed", "added"):
        await client.collections.CreateCollection(
            collections_pb2.CreateCollectionRequest(name=name, model="digits_mrl")
        )
    items = [
        collections_pb2.NewItem(id=str(i), input=_proto(data), metadata_json=json.dumps({"i": i}))
        for i, data in enumerate(pictures)
    ]
    await client.collections.AddItems(
        collections_pb2.AddItemsRequest(collection="mixed", items=items)
    )


async def _expected(client, pictures, views):
    """Answers to every question, asked one at a time."""
    return {
        "classify": [await client.classify("grpc", data) for data in pictures],
        "embed": [await client.embed("grpc", data) for data in pictures],
        "search": [await client.search("grpc", data) for data in pictures],
        "segment": [await client.segment("grpc", data) for data in views],
    }


async def _one(client, number, pictures, views, expected):
    """Asks one of six questions by one of two doors; whether the answer is right."""
    door = "http" if number // 6 % 2 else "grpc"
    place = number % len(pictures)
    match number % 6:
        case 0:
            return await client.classify(door, pictures[place]) == expected["classify"][place]
        case 1:
            found = await client.embed(door, pictures[place])
            return bool(np.abs(found - expected["embed"][place]).max() <= 0.002)
        case 2:
            return await client.search(door, pictures[place]) == expected["search"][place]
        case 3:
            view = number % len(views)
            return _alike(await client.segment(door, views[view]), expected["segment"][view])
        case 4:
            return await client.add(door, pictures[place], f"item-{number}") == 1
        case _:
            return await client.refused(door, None) in (400, StatusCode.INVALID_ARGUMENT)


def _alike(png, other):
    """Label maps may differ where two classes tie: rounding depends on the batch's size."""
    a, b = (np.asarray(Picture.open(io.BytesIO(data))) for data in (png, other))
    return a.shape == b.shape and bool((a == b).mean() >= 0.999)

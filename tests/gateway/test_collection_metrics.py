"""Collections of every metric, made, filled and searched at both doors."""

import asyncio
import json
from hashlib import sha256

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kokeshi import errors
from kokeshi.card import space_of
from kokeshi.contract import Meaning, Output
from kokeshi.engines.config import card_from, config_for, from_pbtxt, to_pbtxt
from kokeshi.engines.embedded import EmbeddedEngine
from kokeshi.gateway.client import Client
from kokeshi.gateway.serve import doors
from kokeshi.images import ImagePool
from kokeshi.index import EmbeddedStore
from kokeshi.service import Service
from kokeshi.service.types import Examples, Image, Limits, NewItem, Tensor

CURVATURE = 0.5
RNG = np.random.default_rng(7)
# Inside of the ball of radius 1 / sqrt(0.5), and of lengths that "ip" and "l2" tell apart.
POINTS = (RNG.uniform(-0.7, 0.7, (30, 4))).astype(np.float32)
QUERY = POINTS[3] + np.float32(0.05)


def scores_of(metric, rows, query):
    """Scores by NumPy alone, in float64."""
    rows, query = rows.astype(np.float64), query.astype(np.float64)
    if metric == "ip":
        return rows @ query
    if metric == "cosine":
        return rows @ query / (np.linalg.norm(rows, axis=1) * np.linalg.norm(query))
    gaps = np.square(rows - query).sum(axis=1)
    if metric == "l2":
        return np.sqrt(gaps)
    rests = (1 - CURVATURE * np.square(rows).sum(axis=1)) * (1 - CURVATURE * query @ query)
    return np.arccosh(1 + 2 * CURVATURE * gaps / rests) / np.sqrt(CURVATURE)


def write_model(tiny, repository, name, output):
    """A model whose embedding is half the mean colour: (N, 3), norms from 0 to 0.87."""
    graph = onnx.load(tiny / "colours" / "1" / "model.onnx")
    graph.graph.node.append(helper.make_node("Mul", ["mean", "half"], [output.name]))
    del graph.graph.output[:]
    info = helper.make_tensor_value_info(output.name, TensorProto.FLOAT, ["N", 3])
    graph.graph.output.append(info)
    data = graph.SerializeToString()
    digest = sha256(data).hexdigest()
    card = card_from(from_pbtxt((tiny / "colours" / "config.pbtxt").read_text()))
    changes = {"name": name, "outputs": (output,), "labels": (), "thresholds": ()}
    changes |= {"model_sha256": digest, "space": space_of([(digest, card.input)], output.name)}
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(data)
    (folder / "config.pbtxt").write_text(to_pbtxt(config_for(card.model_copy(update=changes))))


@pytest.fixture
async def service(tiny_repository, tmp_path):
    """`colours` (cosine), `dots` (ip) and `ball` (hyperbolic)."""
    repository = tmp_path / "models"
    repository.mkdir()
    (repository / "colours").symlink_to(tiny_repository / "colours")
    how = {"meaning": Meaning.EMBEDDING, "shape": (3,), "normalised": False}
    write_model(tiny_repository, repository, "dots", Output(name="dot", metric="ip", **how))
    point = Output(name="point", metric="hyperbolic", curvature=CURVATURE, **how)
    write_model(tiny_repository, repository, "ball", point)
    engine = EmbeddedEngine(repository, threads=1)
    made = Service(engine, ImagePool(1), EmbeddedStore(tmp_path / "data"), Limits())
    await made.start()
    assert [info.reason for info in made.models() if info.reason] == []
    yield made
    await made.close()


@pytest.fixture
async def addresses(service):
    async with doors(service, http="127.0.0.1:0", grpc="127.0.0.1:0", notice_s=0) as opened:
        yield opened


@pytest.fixture
async def ask(addresses):
    with Client(addresses.grpc, timeout_s=20) as client:
        yield lambda name, *given, **named: asyncio.to_thread(
            getattr(client, name), *given, **named
        )


@pytest.fixture
async def http(addresses):
    async with httpx.AsyncClient(base_url=f"http://{addresses.http}", timeout=20) as client:
        yield client


def values(vector):
    return {"tensor": {"values": vector.tolist()}}


@pytest.mark.parametrize(
    ("model", "asked", "metric"),
    [
        ("colours", "", "cosine"),
        ("colours", "cosine", "cosine"),
        ("colours", "ip", "ip"),
        ("colours", "l2", "l2"),
        ("dots", "", "ip"),
        ("dots", "cosine", "cosine"),
        ("ball", "", "hyperbolic"),
        ("ball", "hyperbolic", "hyperbolic"),
    ],
)
async def test_a_collection_of_each_metric_finds_at_both_doors_what_numpy_finds(
    ask, http, model, asked, metric
):
    made = await ask("create_collection", "by_grpc", model, metric=asked)
    told = await http.post(
        "/v1/collections", json={"name": "by_http", "model": model, "metric": asked}
    )
    assert told.status_code == 201, told.text
    curvature = CURVATURE if metric == "hyperbolic" else None
    assert (made.metric, made.curvature) == (metric, curvature)
    assert (told.json()["metric"], told.json().get("curvature")) == (metric, curvature)
    rows, query = POINTS[:, : made.dimension], QUERY[: made.dimension]
    items = [NewItem(str(n), Tensor(row)) for n, row in enumerate(rows)]
    await ask("add_items", "by_grpc", items, space=made.space)
    body = [{"id": str(n), "input": values(row)} for n, row in enumerate(rows)]
    told = await http.post(
        "/v1/collections/by_http/items", json={"items": body, "space": made.space}
    )
    assert told.status_code == 200, told.text
    right = scores_of(metric, rows, query)
    sign = 1 if metric in {"cosine", "ip"} else -1
    best = np.argsort(-sign * right)[:5]
    for name in ("by_grpc", "by_http"):
        found = await ask("search", name, [query], space=made.space, k=5)
        assert found.higher_is_better == (sign == 1)
        assert [hit.id for hit in found.results[0]] == [str(n) for n in best]
        np.testing.assert_allclose([hit.score for hit in found.results[0]], right[best], rtol=1e-6)
        body = {"queries": [values(query)], "space": made.space, "k": 5}
        told = (await http.post(f"/v1/collections/{name}/search", json=body)).json()
        hits = told["results"][0]["hits"]
        assert [(hit["id"], hit["score"]) for hit in hits] == [
            (hit.id, pytest.approx(hit.score)) for hit in found.results[0]
        ]


@pytest.mark.parametrize(
    ("model", "metric", "allowed"),
    [
        ("colours", "hyperbolic", "cosine, ip or l2"),
        ("dots", "hyperbolic", "cosine, ip or l2"),
        ("ball", "l2", "hyperbolic"),
        ("colours", "manhattan", "cosine, ip or l2"),
    ],
)
async def test_a_metric_that_the_space_does_not_have_is_refused_at_both_doors(
    ask, http, model, metric, allowed
):
    message = f"metric must be {allowed} in the space of model {model!r}, got {metric!r}"
    with pytest.raises(errors.InvalidRequestError) as refused:
        await ask("create_collection", "c", model, metric=metric)
    assert str(refused.value) == message
    told = await http.post("/v1/collections", json={"name": "c", "model": model, "metric": metric})
    assert told.status_code == 400
    assert told.json()["error"]["message"] == message
    assert await ask("list_collections") == []


async def test_points_outside_of_the_ball_are_neither_stored_nor_searched_for(ask, http):
    space = (await ask("create_collection", "c", "ball")).space
    outside = np.array([1.42, 0, 0], np.float32)  # the radius is 1.4142...
    words = "must lie within 0.99999 of the ball's radius, got 1.004"
    with pytest.raises(errors.InvalidRequestError, match=f"vector of 'a' {words}"):
        await ask("add_items", "c", [NewItem("a", Tensor(outside))], space=space)
    with pytest.raises(errors.InvalidRequestError, match=f"query 0 {words}"):
        await ask("search", "c", [outside], space=space)
    item = {"id": "a", "input": values(outside)}
    told = await http.post("/v1/collections/c/items", json={"items": [item], "space": space})
    assert (told.status_code, words in told.text) == (400, True)
    body = {"queries": [values(outside)], "space": space}
    told = await http.post("/v1/collections/c/search", json=body)
    assert (told.status_code, words in told.text) == (400, True)
    assert await ask("count_items", "c") == 0


async def test_pictures_become_points_of_the_ball(ask, make_picture):
    await ask("create_collection", "c", "ball")
    pictures = {name: make_picture(name) for name in ("red", "green", "yellow")}
    await ask("add_items", "c", [NewItem(name, Image(data)) for name, data in pictures.items()])
    stored = await ask("get_items", "c", list(pictures), with_vectors=True)
    rows = np.stack([item.vector for item in stored])
    found = await ask("search", "c", [make_picture("red")])
    right = dict(zip(pictures, scores_of("hyperbolic", rows, rows[0]), strict=True))
    assert {hit.id: hit.score for hit in found.results[0]} == pytest.approx(right, abs=1e-6)
    compared = await ask("compare", "ball", pictures["red"], pictures["green"])
    assert compared.distance == pytest.approx(right["green"], rel=1e-5)
    assert compared.similarity == pytest.approx(rows[0] @ rows[1] / 0.25, abs=0.01)


async def test_what_a_ball_has_none_of_is_refused(ask, make_picture):
    space = (await ask("create_collection", "c", "ball")).space
    items = [NewItem(str(n), Tensor(row[:3])) for n, row in enumerate(POINTS)]
    await ask("add_items", "c", items, space=space)
    with pytest.raises(errors.InvalidRequestError, match="points of a ball cannot be"):
        await ask("search", "c", examples=[Examples(("1", "2"), ("3",))])
    with pytest.raises(errors.InvalidRequestError, match="have no cosine to collapse by"):
        await ask("search", "c", query_ids=["1"], collapse=0.9)
    with pytest.raises(errors.InvalidRequestError, match="which are not normalised"):
        await ask("embed", "ball", [make_picture("red")], normalised=True)
    (given,) = (await ask("embed", "ball", [make_picture("red")])).vectors
    np.testing.assert_allclose(given.values, [0.5, 0, 0], atol=1e-6)
    with pytest.raises(errors.InvalidRequestError, match="must be one of auto, flat, got 'hnsw'"):
        await ask("create_collection", "d", "ball", index="hnsw")


async def test_the_card_of_a_model_tells_the_curvature_where_there_is_one(http):
    told = {}
    for name in ("ball", "colours"):
        card = (await http.get(f"/v1/models/{name}")).json()["card"]
        card = json.loads(card) if isinstance(card, str) else card
        told[name] = card["outputs"][-1]
    assert (told["ball"]["metric"], told["ball"]["curvature"]) == ("hyperbolic", CURVATURE)
    assert "curvature" not in told["colours"]

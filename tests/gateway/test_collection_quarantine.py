"""A collection whose rows are damaged: every list says so, others serve, and it can be deleted."""

import asyncio
import shutil

import apsw
import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from kokeshi import errors
from kokeshi.cli.app import app
from kokeshi.engines.embedded import EmbeddedEngine
from kokeshi.gateway.client import Client
from kokeshi.gateway.serve import doors
from kokeshi.images import ImagePool
from kokeshi.index import EmbeddedStore, Tuning
from kokeshi.metrics import REGISTRY
from kokeshi.service import Service
from kokeshi.service.types import Limits, NewItem, Tensor

ITEMS = 30
TUNING = Tuning(closing_rows=1)  # so that there are files to be removed


@pytest.fixture
async def opened(tiny_repository):
    """Starts a service over a data directory, with what it is to close."""
    started = []

    async def start(data):
        engine = EmbeddedEngine(tiny_repository, threads=1)
        service = Service(engine, ImagePool(1), EmbeddedStore(data, TUNING), Limits())
        started.append(service)
        await service.start()
        return service

    yield start
    for service in started:
        await service.close()


@pytest.fixture
async def damaged(opened, tmp_path):
    """A data directory of two collections, "bad" with a vector that is not what was written."""
    data = tmp_path / "data"
    service = await opened(data)
    for name in ("bad", "good"):
        space = (await service.create_collection(name, "colours")).space
        rows = np.random.default_rng(0).standard_normal((ITEMS, 4)).astype(np.float32)
        items = [NewItem(f"i{n}", Tensor(row)) for n, row in enumerate(rows)]
        await service.add_items(name, items, space=space)
    await service.close()
    shutil.rmtree(data / "indexes")
    database = apsw.Connection(str(data / "vectors.sqlite"))
    row = "(SELECT row FROM items WHERE collection = 1 AND id = 'i7')"
    database.execute(f"UPDATE vectors SET vector = zeroblob(16) WHERE row = {row}")
    database.close()
    return data


def gauge(name):
    return REGISTRY.get_sample_value("kokeshi_collection_quarantined", {"collection": name})


async def command(address, *words):
    told = await asyncio.to_thread(
        lambda: CliRunner().invoke(app, ["index", *words, "--server", address])
    )
    assert told.exit_code == 0, told.output
    return told.stdout


def counts(data, collection):
    """Rows of a collection that the database holds."""
    database = apsw.Connection(str(data / "vectors.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    tables = ("items", "vectors")
    found = [
        database.execute(f"SELECT count(*) FROM {table} WHERE row >> 40 = ?", (collection,)).get
        for table in tables
    ]
    database.close()
    return found


async def test_every_list_and_the_metrics_tell_of_a_collection_in_quarantine(opened, damaged):
    service = await opened(damaged)
    why = "the checksum of the vector of row"
    async with doors(service, http="127.0.0.1:0", grpc="127.0.0.1:0", notice_s=0) as addresses:
        with Client(addresses.grpc, timeout_s=20) as client:
            bad, good = await asyncio.to_thread(client.list_collections)
            described = await asyncio.to_thread(client.describe_collection, "bad")
            with pytest.raises(errors.UnavailableError, match="'bad' is in quarantine"):
                await asyncio.to_thread(client.count_items, "bad")
            assert await asyncio.to_thread(client.count_items, "good") == ITEMS
        assert why in bad.quarantine
        assert (described.quarantine, good.quarantine) == (bad.quarantine, "")
        async with httpx.AsyncClient(base_url=f"http://{addresses.http}", timeout=20) as http:
            told = (await http.get("/v1/collections")).json()["collections"]
            assert [why in each.get("quarantine", "") for each in told] == [True, False]
            page = (await http.get("/metrics")).text
        assert 'kokeshi_collection_quarantined{collection="bad"} 1.0' in page
        assert 'kokeshi_collection_quarantined{collection="good"} 0.0' in page
        _, first, second = (await command(addresses.grpc, "list")).splitlines()
        assert f"in quarantine: {why}" in first
        assert " - " in first, "how many items there are is not known"
        assert "quarantine" not in second
        assert f" {ITEMS} " in second


@pytest.mark.parametrize("door", ["grpc", "http", "cli"])
async def test_a_collection_in_quarantine_is_deleted_with_its_rows_and_files(opened, damaged, door):
    service = await opened(damaged)
    (damaged / "indexes" / "1").mkdir(parents=True)
    (damaged / "indexes" / "1" / "left").touch()
    assert counts(damaged, 1)[0] == ITEMS
    async with doors(service, http="127.0.0.1:0", grpc="127.0.0.1:0", notice_s=0) as addresses:
        if door == "grpc":
            with Client(addresses.grpc, timeout_s=20) as client:
                await asyncio.to_thread(client.delete_collection, "bad")
        elif door == "http":
            async with httpx.AsyncClient(base_url=f"http://{addresses.http}", timeout=20) as http:
                assert (await http.delete("/v1/collections/bad")).is_success
        else:
            told = await command(addresses.grpc, "delete", "bad", "--yes")
            assert told == "removed bad with all that it holds\n"
    assert [info.name for info in await service.list_collections()] == ["good"]
    assert counts(damaged, 1) == [0, 0]
    assert counts(damaged, 2) == [ITEMS, ITEMS]
    assert not (damaged / "indexes" / "1").exists()
    assert (gauge("bad"), gauge("good")) == (None, 0)
    made = await service.create_collection("bad", "colours")
    assert (made.count, made.quarantine, gauge("bad")) == (0, "", 0)
    assert await service.count_items("good") == ITEMS

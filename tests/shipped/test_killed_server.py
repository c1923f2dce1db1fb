"""Nothing that was acknowledged is lost when the server is killed, and nothing half appears."""

import json
import random
import threading
import time
from pathlib import Path

import grpc

from kokeshi.v1 import collections_pb2, inputs_pb2

SEVEN = (Path(__file__).parents[2] / "docs" / "demo" / "seven.png").read_bytes()
ROUNDS = 4
BATCH = 3


def _item(name):
    image = inputs_pb2.Input(image=inputs_pb2.Image(data=SEVEN))
    return collections_pb2.NewItem(id=name, input=image, metadata_json=json.dumps({"id": name}))


class Writer(threading.Thread):
    """Adds batches until the server dies; remembers what was asked and what was acknowledged."""

    def __init__(self, server, prefix):
        super().__init__()
        self.server, self.prefix = server, prefix
        self.asked, self.acknowledged = [], []

    def run(self):
        for number in range(100_000):
            names = [f"{self.prefix}-{number}-{place}" for place in range(BATCH)]
            self.asked.append(names)
            request = collections_pb2.AddItemsRequest(
                collection="kept", items=[_item(name) for name in names]
            )
            try:
                self.server.collections.AddItems(request)
            except grpc.RpcError:
                return
            self.acknowledged.append(names)


def _stored(server):
    found, token = [], ""
    while True:
        page = server.collections.ListItems(
            collections_pb2.ListItemsRequest(collection="kept", page_size=500, page_token=token)
        )
        found += page.items
        token = page.next_page_token
        if not token:
            return found


def test_acknowledged_items_survive_kill_9(start_server, tmp_path):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    acknowledged, asked = [], []
    for round_number in range(ROUNDS):
        server = start_server(tmp_path / "data")
        if round_number == 0:
            server.collections.CreateCollection(
                collections_pb2.CreateCollectionRequest(name="kept", model="digits_mrl")
            )
        else:
            _check(server, acknowledged, asked)
        writers = [Writer(server, f"{round_number}{letter}") for letter in "ab"]
        for writer in writers:
            writer.start()
        time.sleep(dice.uniform(0.2, 1.0))
        server.process.kill()
        server.process.wait()
        for writer in writers:
            writer.join()
            acknowledged += writer.acknowledged
            asked += writer.asked
        server.process.stdout.close()
        server.channel.close()
    assert acknowledged, "no round acknowledged anything"


def _check(server, acknowledged, asked):
    found = {item.id: item for item in _stored(server)}
    assert all(json.loads(item.metadata_json) == {"id": name} for name, item in found.items())
    for names in acknowledged:
        assert all(name in found for name in names), "an acknowledged item was lost"
    for names in asked:
        present = [name in found for name in names]
        assert all(present) or not any(present), "half of a batch appeared"
    assert set(found) <= {name for names in asked for name in names}
    search = collections_pb2.SearchRequest(collection="kept", queries=[_item("x").input], k=5)
    assert len(server.collections.Search(search).results[0].hits) == min(5, len(found))

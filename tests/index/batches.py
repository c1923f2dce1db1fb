"""Batches that a thread writes while its server is killed, and what must be left of them."""

import threading

from contract import SPACE, vectors_of
from waiting import wait_for

from kokeshi.errors import KokeshiError
from kokeshi.index import Item

BATCH_DIM = 16
BATCH = 50


def batch_of(number):
    """A batch whose items tell its number, and whose vectors follow from it."""
    return [
        Item(f"{number}.{place}", vector, {"batch": number, "place": place})
        for place, vector in enumerate(vectors_of(BATCH, BATCH_DIM, number))
    ]


class Writing(threading.Thread):
    """Writes batches with request ids, and notes which were acknowledged; it starts at once."""

    def __init__(self, store):
        super().__init__()
        self._store, self._ended = store, threading.Event()
        self.receipts, self.failed, self.number = {}, [], 0
        self.start()

    def run(self):
        while not self._ended.is_set():
            self.number += 1
            try:
                self.receipts[self.number] = self._store.upsert(
                    "faces", batch_of(self.number), space=SPACE, request_id=f"r{self.number}"
                )
            except KokeshiError:
                self.failed.append(self.number)

    def wait_for(self, batches):
        wait_for(lambda: len(self.receipts) >= batches)

    def end(self):
        self._ended.set()
        self.join()


def check_batches(store, acknowledged):
    """Every acknowledged batch is whole and right; no item is there twice. All items, by id."""
    seen, cursor = {}, None
    while True:
        page = store.scroll("faces", cursor=cursor, limit=1000, with_vectors=True)
        for item in page.items:
            assert item.id not in seen
            seen[item.id] = item
        cursor = page.cursor
        if cursor is None:
            break
    for number in acknowledged:
        for expected in batch_of(number):
            assert seen[expected.id].metadata == expected.metadata
            assert seen[expected.id].vector.tobytes() == expected.vector.tobytes()
    assert store.count("faces") == len(seen)
    return seen

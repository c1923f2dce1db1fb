"""mosec: decoding in a stage of its own, inference in batches after it."""

import common
from mosec import Server, Worker


class Decode(Worker):
    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: bytes):
        return common.prepared(data)


class Classify(Worker):
    def __init__(self):
        super().__init__()
        self.graph = common.session()

    def forward(self, data):
        if common.BATCH == 1:  # mosec then hands over one, not a list of one
            return {"label": common.labels(self.graph, [data])[0]}
        return [{"label": label} for label in common.labels(self.graph, data)]


if __name__ == "__main__":
    server = Server()
    server.append_worker(Decode, num=2)
    server.append_worker(Classify, num=common.WORKERS, max_batch_size=common.BATCH, max_wait_time=5)
    server.run()

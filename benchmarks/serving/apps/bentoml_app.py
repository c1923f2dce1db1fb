"""BentoML: adaptive batching of uploaded pictures."""

from pathlib import Path

import bentoml
import common


@bentoml.service(
    workers=common.WORKERS,
    traffic={"timeout": 60, "max_concurrency": 1024},
    http={"port": common.PORT},
)
class Classifier:
    def __init__(self):
        self.graph = common.session()

    @bentoml.api(batchable=True, max_batch_size=max(2, common.BATCH), max_latency_ms=60_000)
    def classify(self, pictures: list[Path]) -> list[int]:
        rows = [common.prepared(Path(picture).read_bytes()) for picture in pictures]
        return common.labels(self.graph, rows)

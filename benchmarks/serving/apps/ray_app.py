"""Ray Serve: replicas that batch with `@serve.batch`."""

import asyncio

import common
import ray
from ray import serve
from starlette.requests import Request


@serve.deployment(
    num_replicas=common.WORKERS,
    max_ongoing_requests=256,
    ray_actor_options={"num_cpus": 2 / common.WORKERS},
)
class Classifier:
    def __init__(self):
        self.graph = common.session()

    @serve.batch(max_batch_size=common.BATCH, batch_wait_timeout_s=0.005)
    async def labels(self, bodies: list[bytes]) -> list[int]:
        return await asyncio.to_thread(self._labels, bodies)

    def _labels(self, bodies: list[bytes]) -> list[int]:
        return common.labels(self.graph, [common.prepared(body) for body in bodies])

    async def __call__(self, request: Request) -> dict:
        return {"label": await self.labels(await request.body())}


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": common.PORT})
    serve.run(Classifier.bind(), route_prefix="/classify", blocking=True)

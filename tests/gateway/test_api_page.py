"""docs/api.md names every RPC and every route, and no other."""

import re
from pathlib import Path

from kokeshi.gateway.http import make_app
from kokeshi.gateway.readiness import Readiness
from kokeshi.v1 import collections_pb2, retrieval_pb2, server_pb2, vision_pb2

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


def test_every_rpc_is_on_the_page():
    services = [
        service
        for file in (vision_pb2, collections_pb2, retrieval_pb2, server_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
    ]
    rpcs = {f"{service.name}.{method.name}" for service in services for method in service.methods}
    assert set(re.findall(r"^\| `(\w+\.\w+)` \|", PAGE, re.M)) == rpcs


async def test_every_route_is_on_the_page(service):
    paths = make_app(service, Readiness(service)).openapi()["paths"]
    routes = {(method.upper(), path) for path, calls in paths.items() for method in calls}
    listed = set(re.findall(r"`(GET|POST|DELETE) (/\S+)`", PAGE))
    assert listed - routes == {("GET", "/openapi.json"), ("GET", "/docs")}
    assert routes <= listed

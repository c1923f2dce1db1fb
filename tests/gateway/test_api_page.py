"""docs/api.md names every RPC and every route, and no other."""

import re
from pathlib import Path

from kokeshi import contract
from kokeshi.gateway.http import make_app
from kokeshi.gateway.readiness import Readiness
from kokeshi.index import checks, notes
from kokeshi.index.filters import checking, grammar
from kokeshi.index.vectors import MAX_ABSOLUTE_VALUE
from kokeshi.service.collection_types import CollectionLimits
from kokeshi.service.collections import ingesting
from kokeshi.service.types import Limits
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


def number(text):
    return float(text.replace(",", ""))


def test_constants_on_the_page_are_those_of_the_code():
    told = re.findall(r"^\| .* \| ([\d,e]+)[^|]* \| `(MAX_\w+)` \|$", PAGE, re.M)
    places = (contract, notes, ingesting, grammar, checking, checks)
    known = {name: value for place in places for name, value in vars(place).items()}
    known["MAX_ABSOLUTE_VALUE"] = MAX_ABSOLUTE_VALUE
    assert len(told) == PAGE.count("| `MAX_") >= 20
    assert {name: number(value) for value, name in told} == {name: known[name] for _, name in told}


def test_defaults_of_settings_on_the_page_are_those_of_the_code():
    told = re.findall(r"^\| `(max_\w+)` \| ([\d,]+) (?!MiB|million)", PAGE, re.M)
    known = {**vars(CollectionLimits()), **vars(Limits())}
    assert {name for name, _ in told} >= {"max_tenants", "max_k", "max_inputs"}
    for name, value in told:
        if name in known:
            assert number(value) == known[name], name

"""Our OpenAPI document has all of the published one of the Open Inference Protocol."""

import copy
import json
import re
from pathlib import Path

import pytest

# Routes, field names, types and what is required, of the commit named in it.
THEIRS = json.loads(
    (Path(__file__).parents[1] / "golden" / "protocols" / "open_inference_rest.json").read_text()
)
JSON = "application/json"
# What Triton's extensions add.
OUR_ROUTES = {
    "GET /v2/models/stats",
    "GET /v2/models/{model}/config",
    "GET /v2/models/{model}/stats",
    "GET /v2/models/{model}/versions/{version}/config",
    "GET /v2/models/{model}/versions/{version}/stats",
    "GET /v2/systemsharedmemory/region/{region}/status",
    "GET /v2/systemsharedmemory/status",
    "POST /v2/repository/index",
    "POST /v2/repository/models/{model}/load",
    "POST /v2/repository/models/{model}/unload",
    "POST /v2/systemsharedmemory/region/{region}/register",
    "POST /v2/systemsharedmemory/region/{region}/unregister",
    "POST /v2/systemsharedmemory/unregister",
}
OUR_FIELDS: set[str] = set()
# The extension for binary data sends bytes behind the JSON in place of this field.
NOT_ALWAYS_ANSWERED = {"POST .../infer 200: .outputs[].data"}


@pytest.fixture
async def document(both):
    return (await both.http.get("/openapi.json")).json()


def ours_of(route):
    """A route of theirs in our words, with and without the version, which they call optional."""
    plain = route.replace("${MODEL_NAME}", "{model}").replace("${MODEL_VERSION}", "{version}")
    plain = plain.removesuffix("/")
    return {plain, plain.replace("/versions/{version}", "")}


def routes_of(document):
    return {
        f"{method.upper()} {path}": operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if path == "/v2" or path.startswith("/v2/")
    }


class Comparison:
    """Theirs against ours; `problems` say where ours falls short or goes beyond."""

    def __init__(self, document):
        self.schemas = document["components"]["schemas"]
        self.problems = []

    def resolved(self, ours):
        while "$ref" in ours or "allOf" in ours:
            if "allOf" in ours:
                (ours,) = ours["allOf"]
            else:
                ours = self.schemas[ours["$ref"].rsplit("/", 1)[1]]
        return ours

    def bodies(self, theirs, ours, where, *, asked):
        for kind, schema in theirs.items():
            if kind not in ours:
                self.problems.append(f"{where}: no {kind}")
            else:
                self.compare(schema, ours[kind]["schema"], f"{where}: ", asked, ())

    def compare(self, theirs, ours, where, asked, above):
        if "is" in theirs:
            if theirs["is"] in above:
                return
            above = (*above, theirs["is"])
            theirs = THEIRS["schemas"][theirs["is"]]
        ours = self.resolved(ours)
        if "any_of" in theirs:
            self.choices(theirs["any_of"], ours.get("anyOf", []), where, asked, above)
        elif theirs["type"] != ours.get("type"):
            self.problems.append(f"{where} is {theirs['type']}, ours is {ours.get('type')}")
        elif "items" in theirs:
            self.compare(theirs["items"], ours["items"], f"{where}[]", asked, above)
        elif "properties" in theirs:
            self.fields(theirs, ours, where, asked, above)

    def choices(self, theirs, ours, where, asked, above):
        if len(theirs) != len(ours):
            self.problems.append(f"{where} is one of {len(theirs)}, ours of {len(ours)}")
        for each, other in zip(theirs, ours, strict=False):
            self.compare(each, other, where, asked, above)

    def fields(self, theirs, ours, where, asked, above):
        own = ours.get("properties", {})
        for name, schema in theirs["properties"].items():
            if name in own:
                self.compare(schema, own[name], f"{where}.{name}", asked, above)
            else:
                self.problems.append(f"{where}.{name} is missing")
        for name in own.keys() - theirs["properties"].keys():
            if f"{where}.{name}" not in OUR_FIELDS:
                self.problems.append(f"{where}.{name} is ours alone")
        wanted, given = set(theirs["required"]), set(ours.get("required", ()))
        # a request may not have to say more than theirs, an answer may not say less
        for name in given - wanted if asked else wanted - given:
            if f"{where}.{name}" not in NOT_ALWAYS_ANSWERED:
                self.problems.append(f"{where}.{name} is required {'by ours' if asked else ''}")


def problems(document):
    routes = routes_of(document)
    comparison = Comparison(document)
    known = set()
    for route, told in THEIRS["routes"].items():
        for own in ours_of(route):
            known.add(own)
            if own not in routes:
                comparison.problems.append(f"{own} is missing")
                continue
            where = re.sub(r"/v2/models/{model}(/versions/{version})?", "...", own)
            asked = routes[own].get("requestBody", {}).get("content", {})
            comparison.bodies(told["request"], asked, where, asked=True)
            for status, bodies in told["responses"].items():
                answered = routes[own]["responses"].get(status, {}).get("content", {})
                comparison.bodies(bodies, answered, f"{where} {status}", asked=False)
    beyond = routes.keys() - known
    comparison.problems += [f"{route} is ours alone" for route in sorted(beyond - OUR_ROUTES)]
    comparison.problems += [f"{route} is gone" for route in sorted(OUR_ROUTES - beyond)]
    return comparison.problems


def test_every_route_and_field_of_the_protocol_is_ours(document):
    assert len(THEIRS["routes"]) == 6
    assert problems(document) == []


def drop_route(document):
    del document["paths"]["/v2/models/{model}/ready"]


def drop_field(document):
    del document["components"]["schemas"]["KServeTensor"]["properties"]["datatype"]


def change_type(document):
    schema = document["components"]["schemas"]["KServeInferRequest"]["properties"]
    schema["id"]["type"] = "integer"


def change_items(document):
    schema = document["components"]["schemas"]["KServeInferOutput"]["properties"]
    schema["shape"]["items"]["type"] = "string"


def change_elements(document):
    document["components"]["schemas"]["KServeTensorData"]["items"]["anyOf"].pop()


def add_field(document):
    schema = document["components"]["schemas"]["KServeServerMetadata"]["properties"]
    schema["uptime_s"] = {"type": "number"}


def ask_for_more(document):
    document["components"]["schemas"]["KServeInferRequest"]["required"].append("id")


def answer_less(document):
    document["components"]["schemas"]["KServeInferResponse"]["required"].remove("model_name")


def drop_error(document):
    del document["paths"]["/v2"]["get"]["responses"]["400"]


def add_route(document):
    document["paths"]["/v2/models/{model}/generate"] = document["paths"]["/v2"]


@pytest.mark.parametrize(
    "change",
    [
        drop_route,
        drop_field,
        change_type,
        change_items,
        change_elements,
        add_field,
        ask_for_more,
        answer_less,
        drop_error,
        add_route,
    ],
)
def test_the_comparison_sees_a_difference(document, change):
    changed = copy.deepcopy(document)
    change(changed)
    assert problems(changed) != []

"""From the body of an inference request to the call that both doors know."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from fastapi import Request

from kokeshi.errors import InvalidRequestError
from kokeshi.gateway.aside import aside
from kokeshi.gateway.http.body import service_of
from kokeshi.gateway.http.v2.body import Parts, parse_lenient, read_parts
from kokeshi.gateway.http.v2.data import array_of_json
from kokeshi.gateway.http.v2.fields import Fields
from kokeshi.gateway.http.v2.raw import raw_input
from kokeshi.gateway.kserve import InferCall, InferInput, SharedMemory, WantedOutput, regions_of
from kokeshi.gateway.kserve.calls import version_of
from kokeshi.gateway.kserve.contracts import contracts_of
from kokeshi.gateway.kserve.datatypes import array_of
from kokeshi.gateway.kserve.parameters import (
    Value,
    call_parameters,
    classification_of,
    region_of,
)

_BINARY_SIZE: Final = "binary_data_size"
_REGION: Final = "shared_memory_region"


@dataclass(frozen=True)
class Asked:
    """A call, and whether outputs that do not say it themselves are answered in binary."""

    call: InferCall
    binary: bool


async def ask_infer(request: Request, model: str, version: str) -> Asked:
    """The call that a request asks for.

    Raises:
        InvalidRequestError: the body cannot be read.
        ModelNotFoundError: no such model, where the body is one raw tensor.
        TooLargeError: the body is over the limit.
    """
    parts = await read_parts(request)
    service = service_of(request)
    if not parts.json:
        contract = contracts_of(service).of(model, version_of(version))
        return Asked(InferCall(model, version, "", [raw_input(contract, parts)]), binary=True)
    regions = regions_of(service)
    return await aside(
        len(parts.json) + len(parts.raw), lambda: _json_call(model, version, parts, regions)
    )


def _json_call(model: str, version: str, parts: Parts, regions: SharedMemory) -> Asked:
    fields = Fields(parse_lenient(parts.json), "the request")
    parameters = fields.parameters()
    scheduled = call_parameters(_values(parameters))
    call = InferCall(
        model,
        version,
        fields.text("id", ""),
        _inputs(model, fields.objects("inputs", required=True), parts.raw, regions),
        [_wanted(each) for each in fields.objects("outputs")],
        scheduled.priority,
        scheduled.timeout_us,
    )
    return Asked(call, parameters.flag("binary_data_output"))


def _values(parameters: Fields) -> Mapping[str, Value]:
    for name, value in parameters.content.items():
        if not isinstance(value, bool | int | float | str):
            raise InvalidRequestError(
                f"{parameters.place}: {name!r} is a string, a number or true or false"
            )
    return parameters.content


def _inputs(
    model: str, given: Iterable[Fields], raw: memoryview, regions: SharedMemory
) -> list[InferInput]:
    """All inputs; those in binary lie one after the other in `raw`, and nothing else does."""
    inputs, at = [], 0
    for fields in given:
        name, datatype = fields.text("name"), fields.text("datatype")
        shape = tuple(fields.counts("shape"))
        parameters = fields.parameters()
        source = _source(name, fields, parameters)
        if source == "data":
            array = array_of_json(
                name,
                datatype,
                shape,
                fields.content["data"],
                content_type=parameters.text("content_type", ""),
            )
        elif source == _REGION:
            region = region_of(name, _values(parameters))
            assert region is not None  # the parameter is there
            array = array_of(name, datatype, shape, regions.read(region))
        else:
            size = parameters.count(_BINARY_SIZE)
            if size > len(raw) - at:
                raise InvalidRequestError(
                    f"unexpected size for input {name!r}, expecting {size - len(raw) + at} "
                    f"additional bytes for model {model!r}"
                )
            array = array_of(name, datatype, shape, raw[at : at + size])
            at += size
        inputs.append(InferInput(name, datatype, shape, array))
    if at != len(raw):
        raise InvalidRequestError(f"unexpected additional input data for model {model!r}")
    return inputs


def _source(name: str, fields: Fields, parameters: Fields) -> str:
    """Where the elements of an input are: exactly one place."""
    places = {"data": fields, _BINARY_SIZE: parameters, _REGION: parameters}
    found = [place for place, holder in places.items() if place in holder]
    if len(found) != 1:
        raise InvalidRequestError(
            f"input {name!r} must set only one of the following fields: 'data', "
            "'binary_data_size' in 'parameters', 'shared_memory_region' in 'parameters'; "
            f"but set are {' and '.join(map(repr, found)) or 'none'}"
        )
    return found[0]


def _wanted(fields: Fields) -> WantedOutput:
    name = fields.text("name")
    parameters = fields.parameters()
    values = _values(parameters)
    region = region_of(name, values)
    binary = parameters.flag("binary_data") if "binary_data" in parameters else None
    if region and binary:
        raise InvalidRequestError(
            f"output {name!r} can't set both 'shared_memory_region' and 'binary_data'"
        )
    return WantedOutput(name, classification_of(values), region, binary)

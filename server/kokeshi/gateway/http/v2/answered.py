"""Answers of inference requests: JSON, and behind it the raw bytes of tensors."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from fastapi import Response

from kokeshi.gateway.aside import aside
from kokeshi.gateway.http.body import JSON, OCTETS
from kokeshi.gateway.http.v2.body import HEADER_LENGTH
from kokeshi.gateway.http.v2.compression import (
    IDENTITY,
    MIN_COMPRESSED_BYTES,
    accepted_encoding,
    compressed,
)
from kokeshi.gateway.http.v2.data import is_plain, json_of_array
from kokeshi.gateway.kserve import InferAnswer, InferOutput, SharedMemory
from kokeshi.gateway.kserve.datatypes import raw_of

JSON_CHARS: Final = 8  # of a number with its comma


@dataclass(frozen=True)
class _Part:
    """An output as JSON, and the bytes of its tensor where they are sent as they are."""

    told: Mapping[str, Any]
    raw: bytes | memoryview = b""


async def respond(
    answer: InferAnswer, *, binary: bool, accepted: str, regions: SharedMemory
) -> Response:
    """An answer on its way out.

    Args:
        answer: what the model said.
        binary: how outputs are sent that do not say it themselves.
        accepted: the header Accept-Encoding.
        regions: to which outputs are written that ask for it.

    Raises:
        InvalidRequestError: an output has no form in JSON, or does not fit its region.
        NotFoundError: a region is not registered.
    """
    size = sum(output.array.size for output in answer.outputs) * JSON_CHARS
    return await aside(size, lambda: _written(answer, binary, accepted, regions))


def _written(answer: InferAnswer, binary: bool, accepted: str, regions: SharedMemory) -> Response:
    parts = [_part(output, binary, regions) for output in answer.outputs]
    head = _json(answer, parts)
    has_binary = any(part.raw for part in parts)
    headers = {HEADER_LENGTH: str(len(head))} if has_binary else {}
    body = b"".join([head, *(part.raw for part in parts)]) if has_binary else head
    encoding = accepted_encoding(accepted) if len(body) >= MIN_COMPRESSED_BYTES else IDENTITY
    if encoding != IDENTITY:
        body = compressed(body, encoding)
        headers["content-encoding"] = encoding
    return Response(body, headers=headers, media_type=OCTETS if has_binary else JSON)


def _part(output: InferOutput, binary: bool, regions: SharedMemory) -> _Part:
    told: dict[str, Any] = {
        "name": output.name,
        "datatype": output.datatype,
        "shape": list(output.shape),
    }
    wanted = output.wanted
    if wanted.region is not None:
        raw = raw_of(output.datatype, output.array)
        regions.write(wanted.region, output.name, raw)
        told["parameters"] = {
            "shared_memory_region": wanted.region.name,
            "shared_memory_offset": wanted.region.offset,
            "shared_memory_byte_size": len(raw),
        }
        return _Part(told)
    if binary if wanted.binary is None else wanted.binary:
        raw = raw_of(output.datatype, output.array)
        return _Part({**told, "parameters": {"binary_data_size": len(raw)}}, raw)
    return _Part({**told, "data": json_of_array(output.name, output.datatype, output.array)})


def _json(answer: InferAnswer, parts: list[_Part]) -> bytes:
    told = [part.told for part in parts]
    content = {
        **({"id": answer.id} if answer.id else {}),
        "model_name": answer.model,
        "model_version": answer.version,
        "outputs": told,
    }
    if all(is_plain(each.get("data")) for each in told):
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    # Triton writes NaN and Infinity, which no JSON is, and its clients read; orjson writes null,
    # which would make one of the other
    return json.dumps(content, default=lambda array: array.tolist()).encode()

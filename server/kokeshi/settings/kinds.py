"""Kinds of values that settings have beside numbers and texts."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator

MAX_PORT: Final = 65_535
STORE_SCHEMES: Final = ("milvus", "milvuss", "qdrant", "qdrants")  # the longer ones with TLS


def _address(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and int(port) <= MAX_PORT):
        raise ValueError("expected host:port")
    return value


def _engine(value: str) -> str:
    if value not in {"embedded", "triton"} and not value.startswith(("triton://", "tritons://")):
        raise ValueError("expected embedded, triton or triton://host:port")
    return value


def _store(value: str) -> str:
    scheme, given, host = value.partition("://")
    if value != "embedded" and not (given and scheme in STORE_SCHEMES and host):
        raise ValueError("expected embedded, milvus://host:port or qdrant://host:port")
    return value


def _names(value: str) -> str:
    if value and not all(name.strip() for name in value.split(",")):
        raise ValueError("expected names with commas between them")
    return value


def _headers(value: str) -> str:
    pairs = [pair.partition("=") for pair in value.split(",")] if value else []
    if not all(name.strip() and equals for name, equals, _ in pairs):
        raise ValueError("expected name=value, with commas between several")
    return value


def _tuning(value: str) -> str:
    if value:
        from kokeshi.index.tuning import tuned

        tuned(value)
    return value


Address = Annotated[str, AfterValidator(_address)]
StoreName = Annotated[str, AfterValidator(_store)]
EngineName = Annotated[str, AfterValidator(_engine)]
Names = Annotated[str, AfterValidator(_names)]
StoreTuning = Annotated[str, AfterValidator(_tuning)]
Headers = Annotated[str, AfterValidator(_headers)]
Folder = Annotated[Path, AfterValidator(Path.expanduser)]
Level = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR"],
    BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
]

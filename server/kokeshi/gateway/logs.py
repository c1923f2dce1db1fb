"""Structured logs: one line per request, as text for people or JSON for machines.

Bodies are never logged. The request id of the task that logs stands on every line.
"""

import logging
import re
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

import orjson

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
REQUESTS: Final = logging.getLogger("kokeshi.requests")

_PLAIN: Final = re.compile(r"[\w.:/+=-]+")


def request(fields: Mapping[str, str], taken_s: float, *, probe: bool = False) -> None:
    """Writes the line of one answered request; probes are logged at level DEBUG."""
    level = logging.DEBUG if probe else logging.INFO
    duration_ms = round(taken_s * 1000, 3)
    REQUESTS.log(level, "request", extra={"fields": {**fields, "duration_ms": duration_ms}})


def configure(
    format: Literal["text", "json"] = "text",
    level: str = "INFO",
    stream: TextIO | None = None,
) -> None:
    """Sends all logs to one stream in one format, replacing what was configured before.

    Args:
        format: "text" or "json".
        level: of the standard library, such as "INFO".
        stream: standard error by default.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    handler.addFilter(_with_request_id)
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)


def _with_request_id(record: logging.LogRecord) -> bool:
    record.request_id = REQUEST_ID.get()
    return True


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if record.__dict__.get("request_id"):
        found["request_id"] = record.__dict__["request_id"]
    return found | record.__dict__.get("fields", {})


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class TextFormatter(logging.Formatter):
    """`time level logger message key=value ...`, with the traceback below."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        pairs = "".join(f" {key}={_quoted(value)}" for key, value in _fields(record).items())
        line = f"{_time(record)} {record.levelname} {record.name} {record.getMessage()}{pairs}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        line = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def _quoted(value: object) -> str:
    """As it is where that is one word; else in quotes, so that a value cannot forge a line."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) else repr(text)

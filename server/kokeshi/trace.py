"""The trace context of the request being answered, from the door to whatever runs the graph.

W3C Trace Context, https://www.w3.org/TR/trace-context/: the headers travel on as they came.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Final

HEADERS: Final = ("traceparent", "tracestate")
TRACE: Final[ContextVar[Mapping[str, str]]] = ContextVar("trace", default=MappingProxyType({}))

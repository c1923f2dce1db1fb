"""The Python client: `Client("127.0.0.1:8001").classify("digits", [png])`."""

from kokeshi.gateway.client.answers import ServedModel
from kokeshi.gateway.client.calls import UnreachableError
from kokeshi.gateway.client.client import Client

__all__ = ["Client", "ServedModel", "UnreachableError"]

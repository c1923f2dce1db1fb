"""Connections to a Triton server: one for the event loop, one for threads.

Both have the same options, so gRPC gives them the same socket. Of the ways to ask, `grpc.aio` costs
a coroutine least, and the blocking stub costs a thread least; a future of the blocking channel that
wakes the event loop cost half as much again as either.
"""

from pathlib import Path
from typing import Any, Final

import grpc
from grpc import aio

from kokeshi.engines.triton.target import TlsFiles
from kokeshi.errors import SetupError

# A server that comes back is found again within a second.
MAX_RECONNECT_MS: Final = 1_000
MIN_RECONNECT_MS: Final = 100
# The watch keeps traffic on the connection, so these pings go out only when nothing comes back.
KEEPALIVE_MS: Final = 5_000
UNLIMITED: Final = -1
OPTIONS: Final = (
    ("grpc.max_send_message_length", UNLIMITED),
    ("grpc.max_receive_message_length", UNLIMITED),
    ("grpc.initial_reconnect_backoff_ms", MIN_RECONNECT_MS),
    ("grpc.min_reconnect_backoff_ms", MAX_RECONNECT_MS),
    ("grpc.max_reconnect_backoff_ms", MAX_RECONNECT_MS),
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
    ("grpc.enable_http_proxy", 0),
)


def open_channels(address: str, tls: TlsFiles | None) -> tuple[aio.Channel, grpc.Channel]:
    """A channel for the running event loop and one for threads; neither connects yet.

    Raises:
        SetupError: a file of `tls` cannot be read.
    """
    if tls is None:
        return (
            aio.insecure_channel(address, options=OPTIONS),
            grpc.insecure_channel(address, options=OPTIONS),
        )
    credentials = _credentials(tls)
    return (
        aio.secure_channel(address, credentials, options=OPTIONS),
        grpc.secure_channel(address, credentials, options=OPTIONS),
    )


def _credentials(tls: TlsFiles) -> Any:  # noqa: ANN401 - grpc is untyped
    return grpc.ssl_channel_credentials(_read(tls.ca), _read(tls.key), _read(tls.certificate))


def _read(file: Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        return file.read_bytes()
    except OSError as error:
        raise SetupError(f"file {str(file)!r} for TLS cannot be read: {error.strerror}") from None

"""Where Triton servers are, as the setting `engine` says it."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from kokeshi.errors import SetupError

SCHEMES: Final = ("triton", "tritons")  # the second with TLS
PORT: Final = 8001  # Triton's own default for gRPC
MAX_PORT: Final = 65_535
_UNIX: Final = "unix:"
_LOCAL_NAMES: Final = frozenset({"localhost", "ip6-localhost"})
_OPTIONS: Final = ("tls", "ca", "certificate", "key", "shared_memory")
_FLAGS: Final[Mapping[str, bool | None]] = {
    "1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "auto": None,
}  # fmt: skip


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of a connection with TLS.

    `ca` is what the server's certificate is checked against (None: the authorities that gRPC
    brings); `certificate` and `key` are the client's own, where the server asks for them.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True)
class Target:
    """What a triton:// address names; the fields are arguments of `TritonEngine`."""

    addresses: tuple[str, ...]
    tls: TlsFiles | None = None
    shared_memory: bool | None = None


def parse_target(text: str) -> Target:
    """Reads triton://host:8001,host2:8001?tls=1 or triton:///run/triton.sock.

    A host without a port has 8001. `tritons://` is with TLS, as is `tls=1`; `ca`, `certificate` and
    `key` name PEM files; `shared_memory` is yes, no or auto.

    Raises:
        SetupError: it is not such an address; the message says what is wrong with it.
    """
    try:
        parts = urlsplit(text)
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError as error:
        raise _wrong(text, f"{str(error)[:1].lower()}{str(error)[1:]}") from None
    if parts.scheme not in SCHEMES or "://" not in text:
        raise _wrong(text, "expected triton://host:8001")
    if parts.fragment or "@" in parts.netloc:
        raise _wrong(text, "it has a fragment or a user, which Triton does not know")
    for name in options:
        if name not in _OPTIONS:
            raise _wrong(text, f"{name!r} is none of its options {', '.join(_OPTIONS)}")
    return Target(
        _addresses(text, parts.netloc, parts.path),
        _tls(text, parts.scheme, options),
        _flag(text, options, "shared_memory"),
    )


def _addresses(text: str, hosts: str, path: str) -> tuple[str, ...]:
    if not hosts:
        if path in {"", "/"}:
            raise _wrong(text, "it names no host")
        return (f"{_UNIX}{path}",)
    if path not in {"", "/"}:
        raise _wrong(text, "a path follows the host; a socket is triton:///path")
    found = tuple(_address(text, host) for host in hosts.split(","))
    if len(set(found)) < len(found):
        raise _wrong(text, "it names an address twice")
    return found


def _address(text: str, host: str) -> str:
    bracketed = host.startswith("[") and host.endswith("]")
    name, colon, port = (host, "", str(PORT)) if bracketed else host.rpartition(":")
    if not colon:
        name, port = host, str(PORT)
    if not name or (":" in name and not name.startswith("[")):
        raise _wrong(text, f"{host!r} is not host:port")
    if not (port.isascii() and port.isdecimal() and 0 < int(port) <= MAX_PORT):
        raise _wrong(text, f"{port!r} is no port")
    return f"{name}:{port}"


def _tls(text: str, scheme: str, options: Mapping[str, str]) -> TlsFiles | None:
    files = {name: Path(options[name]) for name in ("ca", "certificate", "key") if name in options}
    asked = _flag(text, options, "tls")
    if asked is False and (files or scheme == "tritons"):
        raise _wrong(text, "it both asks for TLS and switches it off")
    if ("certificate" in files) != ("key" in files):
        raise _wrong(text, "a client's certificate and its key come together")
    return TlsFiles(**files) if asked or files or scheme == "tritons" else None


def _flag(text: str, options: Mapping[str, str], name: str) -> bool | None:
    value = options.get(name, "auto").lower()
    if value not in _FLAGS:
        raise _wrong(text, f"{name} is yes, no or auto, not {options[name]!r}")
    return _FLAGS[value]


def is_local(address: str) -> bool:
    """Whether an address is on this machine, as far as its text says."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:  # it is a name
        return address.startswith(_UNIX) or host in _LOCAL_NAMES


def _wrong(text: str, why: str) -> SetupError:
    return SetupError(f"engine {text!r} is no address of Triton servers: {why}")

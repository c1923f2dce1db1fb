"""What the setting `engine` may say of Triton servers elsewhere."""

from pathlib import Path

import pytest

from kokeshi.engines.triton.target import Target, TlsFiles, is_local, parse_target
from kokeshi.errors import SetupError


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("triton://host", Target(("host:8001",))),
        ("triton://host:9/", Target(("host:9",))),
        ("triton://a:1,b,[::1]:2,[::2]", Target(("a:1", "b:8001", "[::1]:2", "[::2]:8001"))),
        ("triton:///run/triton.sock", Target(("unix:/run/triton.sock",))),
        ("tritons://host", Target(("host:8001",), TlsFiles())),
        ("triton://host?tls=1", Target(("host:8001",), TlsFiles())),
        ("triton://host?tls=no", Target(("host:8001",))),
        ("triton://host?ca=/a/ca.pem", Target(("host:8001",), TlsFiles(ca=Path("/a/ca.pem")))),
        (
            "tritons://h?certificate=c&key=k",
            Target(("h:8001",), TlsFiles(certificate=Path("c"), key=Path("k"))),
        ),
        ("triton://host?shared_memory=no", Target(("host:8001",), shared_memory=False)),
        ("triton://host?shared_memory=yes", Target(("host:8001",), shared_memory=True)),
        ("triton://host?shared_memory=auto", Target(("host:8001",))),
    ],
)
def test_an_address_says_where_and_how(text, target):
    assert parse_target(text) == target


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected triton://host:8001"),
        ("http://host:8000", "expected triton://host:8001"),
        ("triton:host:8001", "expected triton://host:8001"),
        ("triton://", "names no host"),
        ("triton://host:8001/v2", "a path follows the host"),
        ("triton://host:port", "'port' is no port"),
        ("triton://host:", "'' is no port"),
        ("triton://host:0", "'0' is no port"),
        ("triton://host:65536", "'65536' is no port"),
        ("triton://::1:8001", "is not host:port"),
        ("triton://a,,b", "'' is not host:port"),
        ("triton://a,a:8001", "an address twice"),
        ("triton://me@host", "a fragment or a user"),
        ("triton://host#1", "a fragment or a user"),
        ("triton://host?shm=yes", "'shm' is none of its options"),
        ("triton://host?tls", "bad query field"),
        ("triton://host?tls=perhaps", "tls is yes, no or auto, not 'perhaps'"),
        ("tritons://host?tls=0", "both asks for TLS and switches it off"),
        ("triton://host?tls=0&ca=ca.pem", "both asks for TLS and switches it off"),
        ("triton://host?key=k", "come together"),
        ("triton://[host", "invalid IPv6 URL"),
    ],
)
def test_nonsense_is_refused_with_what_is_wrong(text, why):
    with pytest.raises(SetupError) as raised:
        parse_target(text)
    assert why in str(raised.value)
    assert repr(text) in str(raised.value)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("localhost:8001", True),
        ("127.0.0.2:8001", True),
        ("[::1]:8001", True),
        ("unix:/run/triton.sock", True),
        ("127.example.org:8001", False),
        ("triton:8001", False),
        ("10.0.0.1:8001", False),
    ],
)
def test_shared_memory_is_tried_on_this_machine_alone(address, local):
    assert is_local(address) is local

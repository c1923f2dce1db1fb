"""Pictures inside JSON."""

import base64

import pytest

from kokeshi.errors import InvalidImageError, InvalidRequestError
from kokeshi.images import Limits, from_base64

DATA = bytes(range(256)) + b"\xfb\xff"  # holds + and / in the standard alphabet


@pytest.mark.parametrize("length", [1, 2, 3, 256, 258])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_both_alphabets_are_read_with_and_without_padding(encode, length):
    text = encode(DATA[:length]).decode()
    assert from_base64(text) == DATA[:length]
    assert from_base64(text.rstrip("=")) == DATA[:length]


def test_white_space_is_ignored():
    assert from_base64("  " + base64.encodebytes(DATA).decode() + "\r\n") == DATA


@pytest.mark.parametrize(
    "prefix",
    ["data:image/png;base64,", "DATA:IMAGE/JPEG;BASE64,", " data:image/webp;name=x;base64, "],
)
def test_a_data_uri_of_an_image_is_read(prefix):
    assert from_base64(prefix + base64.b64encode(DATA).decode()) == DATA


@pytest.mark.parametrize(
    "link", ["https://example.org/cat.jpg", " HTTP://x", "s3://bucket/key", "file:///etc/passwd"]
)
def test_a_link_is_refused_and_told_why(link):
    with pytest.raises(InvalidRequestError, match="must be sent, not linked") as caught:
        from_base64(link)
    assert "passwd" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("data:image/png;base64,", "empty"),
        ("A", "not valid base64"),
        ("ABC=DEFG", "not valid base64"),
        ("!!!!", "not valid base64"),
        ("grün", "not valid base64"),
        ("data:text/plain;base64,QUJD", "got media type 'text/plain'"),
        ("data:image/svg+xml,<svg/>", "expected a data URI of the form"),
        ("data:image/png;base64", "expected a data URI of the form"),
    ],
)
def test_anything_else_is_refused_by_name(text, message):
    with pytest.raises(InvalidImageError, match=message):
        from_base64(text)


def test_what_would_be_too_long_is_refused_before_it_is_decoded():
    with pytest.raises(InvalidImageError, match="has 30 bytes; at most 20"):
        from_base64(base64.b64encode(bytes(30)).decode(), Limits(max_bytes=20))

"""Inputs that a person names on the command line."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from kokeshi.service.types import Input

TEXT: Final = "text:"
BATCH: Final = 32  # inputs of one call: enough to fill a batch, few enough to answer soon
HELP: Final = "Image file, - for standard input, or text:WORDS."


def read_image(word: str) -> bytes:
    """The bytes of an image file, or of standard input for "-".

    Raises:
        typer.BadParameter: no such file.
    """
    if word == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(word).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{word!r} cannot be read: {error.strerror}") from None


def read_input(word: str) -> "Input":
    """An image, or a text where the word begins with "text:"."""
    from kokeshi.service.types import Image, Text

    if word.startswith(TEXT):
        return Text(word.removeprefix(TEXT))
    return Image(read_image(word))


def batches(words: Sequence[str]) -> Iterator[Sequence[str]]:
    """The words in the portions of one call each."""
    for start in range(0, len(words), BATCH):
        yield words[start : start + BATCH]

"""Inputs that a person names on the command line."""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import typer

from kokeshi.errors import InvalidRequestError

if TYPE_CHECKING:
    from kokeshi.service.types import Input

I = TypeVar("I")  # noqa: E741 - input
A = TypeVar("A")

TEXT: Final = "text:"
BATCH: Final = 32  # inputs of one call: enough to fill a batch, few enough to answer soon
_POSITION: Final = re.compile(r"^input (\d+):")
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


def in_batches(
    words: Sequence[str], read: Callable[[str], I], ask: Callable[[list[I]], A]
) -> list[A]:
    """The answers to the words in portions of one call each.

    Raises:
        InvalidRequestError: as `ask` does; the word at fault is named in place of its position.
    """
    answers = []
    for start in range(0, len(words), BATCH):
        some = words[start : start + BATCH]
        inputs = [read(word) for word in some]
        try:
            answers.append(ask(inputs))
        except InvalidRequestError as error:
            error.args = (_naming(some, str(error)),)
            raise
    return answers


def _naming(words: Sequence[str], message: str) -> str:
    return _POSITION.sub(lambda found: f"{words[int(found[1])]!r}:", message)

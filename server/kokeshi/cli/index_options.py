"""Arguments and options that the commands of `kokeshi index` share."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kokeshi.errors import InvalidRequestError, SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the collection.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID", help="Ids of items.")]
Tenant = Annotated[str, typer.Option("--tenant", help="Whose items; without it nobody's.")]
Filter = Annotated[
    str | None,
    typer.Option(
        "--filter",
        metavar="FILTER",
        help="Only items that fit, as \"colour = 'red' and size >= 3\", or as JSON.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def filter_json(text: str | None) -> "Mapping[str, Any] | None":
    """A filter of the command line as the API takes it: one line of text, or a JSON object.

    Raises:
        typer.BadParameter: it is neither.
    """
    if text is None:
        return None
    import orjson

    from kokeshi.index.filters import filter_of, filter_of_text, json_of

    try:
        is_json = text.lstrip().startswith("{")
        return json_of(filter_of(orjson.loads(text)) if is_json else filter_of_text(text))
    except (InvalidRequestError, orjson.JSONDecodeError) as error:
        raise typer.BadParameter(f"{error}", param_hint="'--filter'") from None


def json_object(text: str, what: str) -> dict[str, Any]:
    """A JSON object as a person writes it.

    Raises:
        InvalidRequestError: it is none; `what` is named.
    """
    import orjson

    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"{what} are not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{what} are a JSON object, got {text!r:.80}")
    return value


def ask(question: str) -> None:
    """Goes on when a person says yes.

    Raises:
        SetupError: nobody is there, or the answer is no.
    """
    if not sys.stdin.isatty():
        raise SetupError("nobody is there to ask; --yes removes without asking")
    if not typer.confirm(question, err=True):
        raise SetupError("nothing was removed")

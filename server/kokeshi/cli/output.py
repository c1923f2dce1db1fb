"""What commands print: JSON for programs, tables for people."""

import sys
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.progress import Progress

PIPE_COLUMNS: Final = 400  # where there is no terminal, a table is as wide as it needs to be


def print_json(value: object) -> None:
    """Prints a value as JSON; bytes are base64, arrays are lists."""
    import orjson

    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
    print(orjson.dumps(value, default=_plain, option=options).decode())


def _plain(value: Any) -> Any:  # noqa: ANN401 - any value without a form in JSON
    import numpy as np
    from pydantic import BaseModel

    match value:
        case bytes():
            return b64encode(value).decode()
        case np.ndarray():
            return value.tolist()
        case BaseModel():
            return value.model_dump(mode="json")
    return str(value)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table; columns whose name ends in a space are of numbers."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.strip(), justify="right" if column.endswith(" ") else "left")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))  # not markup: names may hold brackets
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())


def note(message: str) -> None:
    """Tells a person something that is no part of the result."""
    sys.stderr.write(f"{message}\n")


def progress(unit: str) -> "Progress":
    """A progress bar on standard error; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )

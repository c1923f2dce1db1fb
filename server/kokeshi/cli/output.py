"""What commands print: JSON for programs, tables for people."""

import sys
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.progress import Progress

SHOWN_VALUES: Final = 6  # of a vector in a table
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
    """Prints a table without the columns that hold nothing.

    Columns whose name ends in a space are of numbers.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS)
    table = Table(box=None, pad_edge=False, header_style="bold")
    cells = [[str(cell) for cell in row] for row in rows]
    kept = [i for i in range(len(columns)) if not cells or any(row[i] for row in cells)]
    for i in kept:
        justify: Literal["left", "right"] = "right" if columns[i].endswith(" ") else "left"
        table.add_column(columns[i].strip(), justify=justify)
    for row in cells:
        table.add_row(*(Text(row[i]) for i in kept))  # not markup: names may hold brackets
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())


def numbers(vector: "NDArray[np.float32]") -> str:
    """The first values of a vector float32 (dim,)."""
    shown = " ".join(f"{value:+.4f}" for value in vector[:SHOWN_VALUES])
    return shown + (" ..." if len(vector) > SHOWN_VALUES else "")


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

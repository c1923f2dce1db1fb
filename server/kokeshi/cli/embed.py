"""`kokeshi embed`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kokeshi.cli.inputs import HELP, in_batches, read_input
from kokeshi.cli.options import (
    TIMEOUT_S,
    Dimension,
    Json,
    Server,
    TimeoutS,
    Version,
    connect,
    new_app,
)
from kokeshi.cli.output import note, numbers, print_json, print_table
from kokeshi.errors import SetupError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

app = new_app()


@app.command()
def embed(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An embedder.")],
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT", help=HELP)],
    *,
    dimension: Dimension = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="NumPy file to write: float32 (inputs, dimension)."),
    ] = None,
    version: Version = 0,
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Turn images or texts into vectors."""
    import numpy as np

    with connect(server, timeout_s) as client:
        answers = in_batches(
            inputs,
            read_input,
            lambda some: client.embed(model, some, version=version, dimension=dimension),
        )
    vectors = np.array([vector.values for answer in answers for vector in answer.vectors])
    if output:
        _write(output, vectors)
    if as_json:
        told = [{"input": word, "values": row} for word, row in zip(inputs, vectors, strict=True)]
        kept = {name: getattr(answers[0], name) for name in ("model", "space", "dimension")}
        print_json({**kept, "results": told})
        return
    print_table(
        ["input", "dimension ", "values"],
        ((word, len(row), numbers(row)) for word, row in zip(inputs, vectors, strict=True)),
    )


def _write(output: Path, vectors: "NDArray[np.float32]") -> None:
    import numpy as np

    try:
        with output.open("wb") as file:
            np.save(file, vectors)
    except OSError as error:
        raise SetupError(f"{str(output)!r} cannot be written: {error.strerror}") from None
    note(f"wrote {output}")

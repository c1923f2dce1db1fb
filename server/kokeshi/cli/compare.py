"""`kokeshi compare`."""

from typing import Annotated

import typer

from kokeshi.cli.inputs import HELP, read_input
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
from kokeshi.cli.output import print_json

app = new_app()


@app.command()
def compare(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="An embedder.")],
    left: Annotated[str, typer.Argument(metavar="A", help=HELP)],
    right: Annotated[str, typer.Argument(metavar="B", help=HELP)],
    *,
    dimension: Dimension = None,
    version: Version = 0,
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Say how alike two inputs are."""
    with connect(server, timeout_s) as client:
        answer = client.compare(
            model, read_input(left), read_input(right), version=version, dimension=dimension
        )
    if as_json:
        print_json(answer)
        return
    verdict = (
        f"{answer.verdict} (threshold {answer.threshold:.4f})"
        if answer.threshold is not None
        else "no threshold was calibrated at this dimension"
    )
    print(
        f"similarity {answer.similarity:.4f}  distance {answer.distance:.4f}  "
        f"dimension {answer.dimension}  {verdict}"
    )

"""`kokeshi classify`."""

from typing import Annotated

import typer

from kokeshi.cli.inputs import in_batches, read_image
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
from kokeshi.cli.output import print_json, print_table

app = new_app()


@app.command()
def classify(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A classifier, or two towers with --label.")
    ],
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE", help="Image files; - is standard input.")
    ],
    *,
    top_k: Annotated[
        int | None, typer.Option("--top-k", "-k", min=1, help="Labels per image; default 5.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Only labels that score at least this.")
    ] = None,
    dimension: Dimension = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Zero-shot: a class to choose from; repeat it."),
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Zero-shot: a prompt with {} for the label; repeat it."),
    ] = None,
    version: Version = 0,
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Name what is in images, best first."""
    with connect(server, timeout_s) as client:
        answers = in_batches(
            images,
            read_image,
            lambda some: client.classify(
                model,
                some,
                version=version,
                top_k=top_k,
                threshold=threshold,
                dimension=dimension,
                labels=label or (),
                templates=template or (),
            ),
        )
    results = list(zip(images, (item for one in answers for item in one.results), strict=True))
    if as_json:
        told = [{"input": word, **vars(result)} for word, result in results]
        print_json({"model": answers[0].model, "results": told})
        return
    print_table(
        ["image", "label", "score "],
        (
            (word if not i else "", found.name, f"{found.score:.4f}")
            for word, result in results
            for i, found in enumerate(result.labels)
        ),
    )

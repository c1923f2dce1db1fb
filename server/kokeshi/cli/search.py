"""`kokeshi search`, and `kokeshi index search`."""

from typing import Annotated, Literal

import typer

from kokeshi.cli.inputs import HELP, TEXT, in_batches, read_input
from kokeshi.cli.options import TIMEOUT_S, Dimension, Json, Server, TimeoutS, connect, new_app
from kokeshi.cli.output import print_json, print_table

app = new_app()


@app.command()
def search(
    collection: Annotated[str, typer.Argument(metavar="COLLECTION", help="Where to look.")],
    queries: Annotated[
        list[str] | None, typer.Argument(metavar="QUERY", help=HELP, show_default=False)
    ] = None,
    *,
    text: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A text to look for; repeat it.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Hits per query.")] = 10,
    mode: Annotated[
        Literal["auto", "exact", "two_stage"],
        typer.Option(help="The index, every vector, or a shortlist ranked again."),
    ] = "auto",
    dimension: Dimension = None,
    shortlist: Annotated[
        int | None, typer.Option(min=1, help="Two-stage: how many are ranked again.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="Embeds the queries; default the collection's own.")
    ] = "",
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Find the items nearest to images or texts."""
    words = [*(queries or ()), *(f"{TEXT}{line}" for line in text or ())]
    if not words:
        raise typer.BadParameter("name an image, or a text with --text")
    with connect(server, timeout_s) as client:
        answers = in_batches(
            words,
            read_input,
            lambda some: client.search(
                collection,
                some,
                k=k,
                mode=mode,
                dimension=dimension,
                shortlist=shortlist,
                model=model,
            ),
        )
    results = list(zip(words, (hits for answer in answers for hits in answer.results), strict=True))
    if as_json:
        kept = ("space", "dimension", "higher_is_better")
        told = [{"query": word, "hits": hits} for word, hits in results]
        print_json({**{name: getattr(answers[0], name) for name in kept}, "results": told})
        return
    print_table(
        ["query", "rank ", "id", "score " if answers[0].higher_is_better else "distance ", "label"],
        (
            (
                word if not i else "",
                i + 1,
                hit.id,
                f"{hit.score:.4f}",
                hit.metadata.get("label", ""),
            )
            for word, hits in results
            for i, hit in enumerate(hits)
        ),
    )

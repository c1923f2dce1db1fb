"""`kokeshi search`, and `kokeshi index search`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kokeshi.cli.index_options import Filter, Tenant, filter_json
from kokeshi.cli.inputs import HELP, TEXT, in_batches, read_input
from kokeshi.cli.options import TIMEOUT_S, Dimension, Json, Server, TimeoutS, connect, new_app
from kokeshi.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from kokeshi.gateway.client import Client
    from kokeshi.service.types import Found, Hit

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
    ids: Annotated[
        list[str] | None, typer.Option("--id", help="An item as a query; repeat it.")
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(
            "-k", min=1, help="Hits per query [default: 10; with --threshold all that reach it]."
        ),
    ] = None,
    where: Filter = None,
    tenant: Tenant = "",
    threshold: Annotated[
        float | None, typer.Option(help="Least score of a hit, or its largest distance.")
    ] = None,
    collapse: Annotated[
        float | None,
        typer.Option(help="Fold hits with a cosine of at least this to a better one."),
    ] = None,
    mode: Annotated[
        Literal["auto", "exact", "two_stage"],
        typer.Option(help="The index, every vector, or a shortlist ranked again."),
    ] = "auto",
    dimension: Dimension = None,
    shortlist: Annotated[
        int | None, typer.Option(min=1, help="Two-stage: how many are ranked again.")
    ] = None,
    breadth: Annotated[
        int | None, typer.Option(min=1, help="Candidates of a graph's walk, or lists of an IVF.")
    ] = None,
    recall_target: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of the true neighbours; chooses the dials."),
    ] = None,
    budget_ms: Annotated[
        float | None, typer.Option(min=0, help="Time of the search; chooses the dials.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="Embeds the queries; default the collection's own.")
    ] = "",
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Find the items nearest to images or texts."""
    from kokeshi.service.types import SearchMode

    words = [*(queries or ()), *(f"{TEXT}{line}" for line in text or ())]
    if not (words or ids):
        raise typer.BadParameter("name an image, a text with --text, or an item with --id")
    how: dict[str, Any] = {
        "k": k,
        "mode": SearchMode(mode),
        "dimension": dimension,
        "shortlist": shortlist,
        "breadth": breadth,
        "recall_target": recall_target,
        "budget_ms": budget_ms,
        "model": model,
        "filter": filter_json(where),
        "tenant": tenant,
        "threshold": threshold,
        "collapse": collapse,
    }
    with connect(server, timeout_s) as client:
        answers = _ask(client, collection, words, ids or (), how)
    asked = [*words, *(f"id:{one}" for one in ids or ())]
    _tell(asked, answers, as_json=as_json)


def _ask(
    client: "Client", collection: str, words: Sequence[str], ids: Sequence[str], how: dict[str, Any]
) -> "list[Found]":
    """Answers to the words, then to the ids, in portions of one call each."""
    by_words = in_batches(words, read_input, lambda some: client.search(collection, some, **how))
    by_ids = in_batches(ids, str, lambda some: client.search(collection, query_ids=some, **how))
    return [*by_words, *by_ids]


def _tell(asked: Sequence[str], answers: "Sequence[Found]", *, as_json: bool) -> None:
    results = list(zip(asked, (hits for answer in answers for hits in answer.results), strict=True))
    first = answers[0]
    if as_json:
        kept = (
            "space",
            "dimension",
            "higher_is_better",
            "sequence",
            "exact",
            "proven_exact",
            "route",
            "recall_estimate",
        )
        told = [{"query": word, "hits": hits} for word, hits in results]
        print_json({**{name: getattr(first, name) for name in kept}, "results": told})
        return
    print_table(
        [
            "query",
            "rank ",
            "id",
            "score " if first.higher_is_better else "distance ",
            "label",
            "stands for",
        ],
        (
            (word if not i else "", i + 1, *_cells(hit))
            for word, hits in results
            for i, hit in enumerate(hits)
        ),
    )
    one = first.recall_estimate
    if one is not None and one.samples:
        note(
            f"recall of searches like this one: {one.value:.3f} "
            f"({one.low:.3f} to {one.high:.3f}, {one.samples} samples)"
        )


def _cells(hit: "Hit") -> tuple[object, ...]:
    return (hit.id, f"{hit.score:.4f}", hit.metadata.get("label", ""), " ".join(hit.collapsed_ids))

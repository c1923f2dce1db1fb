"""`kokeshi search`, and `kokeshi index search`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kokeshi.cli.hits import tell_found
from kokeshi.cli.index_options import Filter, Tenant, filter_json
from kokeshi.cli.inputs import HELP, TEXT, in_batches, read_input
from kokeshi.cli.options import TIMEOUT_S, Dimension, Json, Server, TimeoutS, connect, new_app

if TYPE_CHECKING:
    from kokeshi.gateway.client import Client
    from kokeshi.service.types import Found

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
    like: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Items that the hits of one more query are to be like."),
    ] = None,
    unlike: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Items that they are to be unlike.")
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
    group_by: Annotated[
        str, typer.Option(metavar="FIELD", help="A field of the metadata: -k groups, not hits.")
    ] = "",
    group_size: Annotated[
        int | None, typer.Option(min=1, help="Most hits of a group [default: 1].")
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
    if not (words or ids or like or unlike):
        raise typer.BadParameter("name an image, a text with --text, or items with --id or --like")
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
        "group_by": group_by,
        "group_size": group_size,
    }
    with connect(server, timeout_s) as client:
        answers = _ask(client, collection, words, ids or (), how)
        answers += _ask_by_examples(client, collection, like or (), unlike or (), how)
    asked = [*words, *(f"id:{one}" for one in ids or ()), *_named(like or (), unlike or ())]
    tell_found(asked, answers, are_grouped=bool(group_by), as_json=as_json)


def _ask(
    client: "Client", collection: str, words: Sequence[str], ids: Sequence[str], how: dict[str, Any]
) -> "list[Found]":
    """Answers to the words, then to the ids, in portions of one call each."""
    by_words = in_batches(words, read_input, lambda some: client.search(collection, some, **how))
    by_ids = in_batches(ids, str, lambda some: client.search(collection, query_ids=some, **how))
    return [*by_words, *by_ids]


def _ask_by_examples(
    client: "Client",
    collection: str,
    like: Sequence[str],
    unlike: Sequence[str],
    how: dict[str, Any],
) -> "list[Found]":
    """The answer to the one query that the examples make, if there are any."""
    from kokeshi.service.types import Examples

    if not (like or unlike):
        return []
    return [client.search(collection, examples=[Examples(like, unlike)], **how)]


def _named(like: Sequence[str], unlike: Sequence[str]) -> Sequence[str]:
    words = [*(f"like:{one}" for one in like), *(f"unlike:{one}" for one in unlike)]
    return [" ".join(words)] if words else []

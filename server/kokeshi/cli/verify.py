"""`kokeshi verify`: the same or not, with the odds of being wrong."""

from typing import TYPE_CHECKING, Annotated

import typer

from kokeshi.cli.inputs import HELP, read_input
from kokeshi.cli.options import TIMEOUT_S, Dimension, Json, Server, TimeoutS, connect, new_app
from kokeshi.cli.output import note, print_json

if TYPE_CHECKING:
    from kokeshi.gateway.client.retrieval_requests import QuestionWords

app = new_app()


@app.command()
def verify(
    collection: Annotated[str, typer.Argument(metavar="COLLECTION", help="Who is known.")],
    query: Annotated[str, typer.Argument(metavar="QUERY", help=HELP)],
    *,
    item: Annotated[str, typer.Option(help="Compare with this item.")] = "",
    subject: Annotated[
        str,
        typer.Option(metavar="FIELD=VALUE", help="Compare with all items whose field has a value."),
    ] = "",
    labels: Annotated[
        str, typer.Option(help="Fit on the labels of this field first, and keep the fit.")
    ] = "",
    fitted: Annotated[str, typer.Option(help="Name of the fit; default verification.")] = "",
    dimension: Dimension = None,
    tenant: Annotated[str, typer.Option(help="Whose items.")] = "",
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Say whether an input is the same as an item, or as a subject."""
    field, equals, value = subject.partition("=")
    if bool(item) == bool(subject) or (subject and not equals):
        raise typer.BadParameter("name one of --item ID and --subject FIELD=VALUE")
    options: QuestionWords = {"fitted": fitted, "tenant": tenant}
    if dimension is not None:
        options["dimension"] = dimension
    with connect(server, timeout_s) as client:
        if labels:
            told = client.fit_retriever(
                collection, "verification", labels=labels, name=fitted, tenant=tenant
            )
            note(f"fitted {told.name!r} on {told.count} of {told.of} items")
        answer = client.verify(
            collection,
            read_input(query),
            against_id=item,
            field=field,
            value=value if subject else None,
            **options,
        )
    if as_json:
        print_json(answer)
        return
    rate = answer.false_match_rate
    low, high = answer.probability_interval
    print(
        f"{answer.verdict}  score {answer.score:.4f}  "
        f"probability {answer.probability:.4f} ({low:.4f} to {high:.4f})"
    )
    print(
        f"the same from {answer.upper_threshold:.4f}, where {rate.value:.3%} "
        f"({rate.low:.3%} to {rate.high:.3%}) of different pairs are; different below "
        f"{answer.lower_threshold:.4f}; compared {answer.references} of {answer.of} items "
        f"at {answer.dimension} dimensions"
    )

"""`kokeshi index explain`: why an item is, or is not, among the hits of a search."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from kokeshi.cli.index_options import Filter, Name, Tenant, filter_json
from kokeshi.cli.inputs import HELP, read_input
from kokeshi.cli.options import TIMEOUT_S, Dimension, Json, Server, TimeoutS, connect
from kokeshi.cli.output import print_json, print_table

if TYPE_CHECKING:
    from kokeshi.service.types import Explanation

REASONS: Final[Mapping[str, str]] = {
    "found": "it is hit number {rank}",
    "not_stored": "this tenant has no such item",
    "filter": "its metadata do not fit the filter",
    "excluded": "the search leaves it out by its id",
    "threshold": "it scores worse than the threshold",
    "below_k": "others are nearer: a larger -k reaches it",
    "shortlist": "it belongs to the hits but was no candidate: search wider, or --mode exact",
}


def explain(
    name: Name,
    item: Annotated[str, typer.Argument(metavar="ID", help="The item in question.")],
    query: Annotated[
        str | None, typer.Argument(metavar="QUERY", help=HELP, show_default=False)
    ] = None,
    *,
    query_id: Annotated[
        str | None, typer.Option("--id", help="An item of the collection as the query.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Hits of the search.")] = 10,
    mode: Annotated[
        Literal["auto", "exact", "two_stage"],
        typer.Option(help="The index, every vector, or a shortlist ranked again."),
    ] = "auto",
    dimension: Dimension = None,
    where: Filter = None,
    tenant: Tenant = "",
    threshold: Annotated[
        float | None, typer.Option(help="Least score of a hit, or its largest distance.")
    ] = None,
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Say where an item stands in a search, and at which stage it left."""
    from kokeshi.service.types import SearchMode

    if (query is None) == (query_id is None):
        raise typer.BadParameter("name one query: an image, text:WORDS, or an item with --id")
    how: dict[str, Any] = {"k": k, "mode": SearchMode(mode), "dimension": dimension}
    how |= {"filter": filter_json(where), "tenant": tenant, "threshold": threshold}
    how |= {"query_ids": [query_id] if query_id is not None else []}
    with connect(server, timeout_s) as client:
        told = client.explain(name, item, [read_input(query)] if query is not None else [], **how)
    if as_json:
        print_json(told)
        return
    _print(item, told)


def _print(item: str, told: "Explanation") -> None:
    print(f"{item}: {told.stage} - {REASONS[told.stage].format(rank=told.rank)}")
    print(f"searched: {told.route.kind} at {told.route.first} dimensions")
    if told.route.shortlist:
        print(f"ranked again: {told.route.shortlist} candidates")
    score = "score " if told.higher_is_better else "distance "
    if told.dimensions:
        print("\nwhere it stands when all that may be found are compared:")
        print_table(
            ["dimension ", score, "rank "],
            ((one.dimension, f"{one.score:.4f}", one.rank or "-") for one in told.dimensions),
        )
    if told.blocks:
        print("\nwhat its values add to the whole:")
        print_table(
            ["values", "part "],
            ((f"{one.begin} to {one.end - 1}", f"{one.contribution:+.4f}") for one in told.blocks),
        )

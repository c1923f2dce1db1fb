"""`kokeshi index fit` and `fitted`: models of retrievers, with what their fits measured."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kokeshi.cli.index_doctor import TIMEOUT_S
from kokeshi.cli.index_options import Name, Tenant, json_object
from kokeshi.cli.options import Dimension, Json, Server, connect
from kokeshi.cli.output import note, print_json, print_table
from kokeshi.errors import NotFoundError

if TYPE_CHECKING:
    from kokeshi.service.retrieval.records import Fitted

SHOWN_ENTRIES: Final = 10  # of a list in the table; JSON has all
RATE: Final = frozenset({"value", "low", "high", "count"})
Row = tuple[str, str, str, str]
FitTimeoutS = Annotated[
    float, typer.Option("--timeout-s", min=0.001, help="Seconds to wait for an answer.")
]


def fit(
    name: Name,
    retriever: Annotated[str, typer.Argument(metavar="RETRIEVER", help="What is fitted.")],
    *,
    labels: Annotated[str, typer.Option(help="Field of the metadata that holds labels.")] = "",
    other: Annotated[
        str,
        typer.Option(help="A collection of the same ids in another space, or of another depth."),
    ] = "",
    dimension: Dimension = None,
    items: Annotated[
        int | None, typer.Option(min=1, help="Fit on this many at most; default the server's.")
    ] = None,
    settings: Annotated[str, typer.Option(help='As JSON: {"references": 10}.')] = "{}",
    keep_as: Annotated[
        str, typer.Option("--as", metavar="FIT", help="Name of the fit; default the retriever's.")
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of the sample, and of what the fit draws.")] = 0,
    tenant: Tenant = "",
    server: Server = None,
    timeout_s: FitTimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Fit a retriever on a sample of a collection, and show what the fit measured."""
    asked = json_object(settings, "settings")
    with connect(server, timeout_s) as client:
        told = client.fit_retriever(
            name,
            retriever,
            settings=asked,
            labels=labels,
            other=other,
            dimension=dimension,
            items=items,
            name=keep_as,
            seed=seed,
            tenant=tenant,
        )
    _tell(told, as_json=as_json)


def fitted(
    name: Name,
    fit: Annotated[
        str,
        typer.Argument(metavar="[FIT]", help="Show what this one measured.", show_default=False),
    ] = "",
    *,
    tenant: Tenant = "",
    server: Server = None,
    timeout_s: FitTimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """List what is fitted for a collection, or show one fit."""
    with connect(server, timeout_s) as client:
        known = client.fitted(name, tenant=tenant)
    if fit:
        found = next((each for each in known if each.name == fit), None)
        if found is None:
            raise NotFoundError(f"nothing is fitted under {fit!r} for collection {name!r}")
        _tell(found, as_json=as_json)
    elif as_json:
        print_json({"fitted": known})
    else:
        columns = ["fit", "retriever", "labels", "dimension ", "items ", "of ", "sequence "]
        rows = (
            (one.name, one.retriever, one.labels, one.dimension, one.count, one.of, one.sequence)
            for one in known
        )
        print_table(columns, rows)


def _tell(told: "Fitted", *, as_json: bool) -> None:
    if as_json:
        print_json(told)
        return
    note(f"{told.name}: {told.count} of {told.of} items, sequence {told.sequence}")
    print_table(["figure", "value ", "95 % interval", "trials "], _rows("", told.figures))


def _rows(place: str, value: object) -> Iterator[Row]:
    """Leaves of figures by their place; a share that was counted is one row."""
    if isinstance(value, Mapping) and value.keys() == RATE:
        ends = f"{value['low']:.6g} to {value['high']:.6g}"
        yield place, f"{value['value']:.6g}", ends, str(value["count"])
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _rows(f"{place}.{name}" if place else name, each)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield from _entries(place, value)
    else:
        yield place, f"{value:.6g}" if isinstance(value, float) else str(value), "", ""


def _entries(place: str, values: Sequence[object]) -> Iterator[Row]:
    if not any(isinstance(each, Mapping) for each in values):
        yield place, ", ".join(map(str, values)), "", ""
    elif len(values) > SHOWN_ENTRIES:
        yield place, f"{len(values)}; see --json", "", ""
    else:
        for number, each in enumerate(values):
            own = each.get("dimension", number) if isinstance(each, Mapping) else number
            yield from _rows(f"{place}.{own}", each)

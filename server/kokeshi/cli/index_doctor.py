"""`kokeshi index doctor`: what a collection's vectors say of themselves."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kokeshi.cli.index_options import json_object
from kokeshi.cli.options import Json, Server, connect
from kokeshi.cli.output import note, print_json, print_table
from kokeshi.errors import InvalidRequestError, SetupError

if TYPE_CHECKING:
    from kokeshi.cli.index_exchange.queries import Queries
    from kokeshi.gateway.client import Client
    from kokeshi.service.retrieval.records import Diagnosed, Measured

TIMEOUT_S: Final = 600.0  # a collection of the largest sample takes minutes, not seconds
SHOWN_FLAGGED: Final = 10  # items of each diagnostic in the table; JSON has all
MOST_QUERIES: Final = 1000  # as many as `drift` reads where its settings do not say otherwise


def doctor(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the collection.")],
    *,
    diagnostic: Annotated[
        list[str] | None,
        typer.Option(metavar="DIAGNOSTIC", help="By name; repeat it. Default: all that can run."),
    ] = None,
    labels: Annotated[str, typer.Option(help="Field of the metadata that holds labels.")] = "",
    other: Annotated[
        str, typer.Option(help="A collection of the same ids in another space, to compare with.")
    ] = "",
    queries: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            help="Queries to compare with the items: what `import` takes, without ids; images and "
            "texts are embedded by the collection's model.",
        ),
    ] = None,
    most_queries: Annotated[
        int, typer.Option(min=1, help="Queries that are sent; of more, so many are drawn.")
    ] = MOST_QUERIES,
    space: Annotated[
        str,
        typer.Option(
            help="Space of queries that are vectors [default: as the file says, else the "
            "collection's]."
        ),
    ] = "",
    settings: Annotated[
        str, typer.Option(help='As JSON, by diagnostic: {"hubness": {"neighbours": 5}}.')
    ] = "{}",
    items: Annotated[
        int | None, typer.Option(min=1, help="Look at this many at most; default the server's.")
    ] = None,
    tenant: Annotated[str, typer.Option(help="Whose items.")] = "",
    plots: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Draw the curves there, as SVG.")
    ] = None,
    server: Server = None,
    timeout_s: Annotated[
        float, typer.Option("--timeout-s", min=0.001, help="Seconds to wait for an answer.")
    ] = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Measure a collection: figures, what they mean, and items that want a look."""
    asked = read_settings(settings)
    if plots:
        _make(plots)
    with connect(server, timeout_s) as client:
        sent = _read_queries(queries, client, name, most_queries, space)
        answer = client.diagnose(
            name,
            diagnostic or (),
            settings=asked,
            labels=labels,
            queries=sent.vectors if sent else (),
            other=other,
            items=items,
            tenant=tenant,
            space=sent.space if sent else "",
        )
    if as_json:
        print_json(answer)
    else:
        _tell(answer)
    if plots:  # after all that was measured is told: it may not be possible
        draw_all(answer, plots)


def _read_queries(
    file: Path | None, client: "Client", name: str, most: int, space: str
) -> "Queries | None":
    from kokeshi.cli.index_exchange.queries import queries_in

    if file is None:
        return None
    found = queries_in(file, client, name, most, space)
    if len(found.vectors) < found.of:
        note(f"{len(found.vectors)} of {found.of} queries were drawn at random")
    return found


def _make(folder: Path) -> None:
    """Makes a folder, before anything is measured for it.

    Raises:
        SetupError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"cannot write to {folder}: {error.strerror}") from None


def read_settings(text: str) -> dict[str, dict[str, Any]]:
    """Settings as a person writes them.

    Raises:
        InvalidRequestError: they are no JSON object of objects.
    """
    value = json_object(text, "settings")
    if not all(isinstance(each, dict) for each in value.values()):
        raise InvalidRequestError(f"settings are a JSON object by diagnostic, got {text!r:.80}")
    return value


def draw_all(answer: "Diagnosed", folder: Path) -> None:
    """Draws the curves of each diagnostic into a file of its own, and tells of each.

    Raises:
        SetupError: matplotlib is not installed; the plots that are missing are named.
    """
    from kokeshi.plugin import Curve, Findings
    from kokeshi.tune.curves import draw

    wanted = [result for result in answer.results if result.curves]
    for result in wanted:
        path = folder / f"{answer.collection}-{result.diagnostic}.svg"
        curves = tuple(
            Curve(
                each.title,
                each.x_label,
                each.y_label,
                each.x,
                each.y,
                _kind(each.kind),
                tuple(each.names),
            )
            for each in result.curves
        )
        title = f"{answer.collection}: {result.diagnostic.replace('_', ' ')}"
        try:
            draw(Findings(result.figures, curves=curves), path, title)
        except SetupError as error:
            names = ", ".join(each.diagnostic for each in wanted)
            raise SetupError(f"no plots of {names}: {error}") from None
        note(f"drew {path}")


def _kind(word: str) -> Any:  # noqa: ANN401 - one of the words that a curve takes
    return word


def _tell(answer: "Diagnosed") -> None:
    note(f"{answer.collection}: {answer.count} of {answer.of} items, space {answer.space}")
    rows = [row for result in answer.results for row in _figures(result)]
    print_table(["diagnostic", "figure", "value ", "95 % interval"], rows)
    for result in answer.results:
        if result.refused:
            print(f"{result.diagnostic}: not measured: {result.refused}")
        for line in result.advice:
            print(f"{result.diagnostic}: {line}")
        _tell_flagged(result)


def _figures(result: "Measured") -> list[tuple[str, str, str, str]]:
    rows: list[tuple[str, str, str, str]] = []
    for name, value in sorted(result.figures.items()):
        ends = result.intervals.get(name)
        told = f"{ends[0]:.6g} to {ends[1]:.6g}" if ends else ""
        rows.append((result.diagnostic if not rows else "", name, f"{value:.6g}", told))
    return rows


def _tell_flagged(result: "Measured") -> None:
    flagged = list(result.flagged.items())
    for key, why in flagged[:SHOWN_FLAGGED]:
        print(f"{result.diagnostic}: {key}: {why}")
    if len(flagged) > SHOWN_FLAGGED:
        print(f"{result.diagnostic}: and {len(flagged) - SHOWN_FLAGGED} more; see --json")

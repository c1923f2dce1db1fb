"""`kokeshi methods`."""

from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from kokeshi.cli.options import Json, new_app
from kokeshi.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from kokeshi.catalogue import Entry

app = new_app()
State = Literal["served", "checkpoint required", "transform", "planned", "not servable"]
EXPORTABLE: Final = ("served", "checkpoint required", "transform")
REASON_CHARACTERS: Final = 80


@app.command()
def methods(
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what is planned, or cannot be served.")
    ] = False,
    state: Annotated[State | None, typer.Option(help="Only methods in this state.")] = None,
    as_json: Json = False,
) -> None:
    """List the published methods and what can be done with each.

    The last column is what `kokeshi export` takes for it, or why it cannot be served.
    """
    from kokeshi import catalogue
    from kokeshi.registry import discover

    registry = discover()
    entries = catalogue.entries([*registry.methods.values(), *registry.checkpoints.values()])
    wanted = {state} if state else set() if everything else set(EXPORTABLE)
    chosen = [entry for entry in entries if not wanted or entry.state in wanted]
    uncatalogued = sorted(set(registry.names()) - {name for e in entries for name in e.names})
    if as_json:
        print_json({"methods": chosen, "uncatalogued": uncatalogued})
        return
    print_table(["number ", "method", "state", "tasks", "export"], map(_cells, chosen))
    if uncatalogued:
        note(f"kokeshi export also takes: {', '.join(uncatalogued)}")
    note(f"{len(chosen)} of {len(entries)} methods")


def _cells(entry: "Entry") -> list[object]:
    tasks = ", ".join(entry.tasks)
    last = ", ".join(entry.names) or entry.reason[:REASON_CHARACTERS]
    return [entry.number, entry.short, entry.state, tasks, last]

"""`kokeshi methods`."""

import textwrap
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from kokeshi.cli.options import Json, new_app
from kokeshi.cli.output import note, print_json, print_table
from kokeshi.errors import SetupError

if TYPE_CHECKING:
    from kokeshi.catalogue import Entry

app = new_app()
State = Literal["served", "checkpoint required", "transform", "planned", "not servable"]
EXPORTABLE: Final = ("served", "checkpoint required", "transform")
COLUMNS: Final = 100
METHOD_CHARACTERS: Final = 28
LAST_CHARACTERS: Final = 41  # so that a line of the table has at most `COLUMNS`


@app.command()
def methods(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Tell all of this method: its name or a part of it, its number, or what `kokeshi "
            "export` takes.",
            show_default=False,
        ),
    ] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what is planned, or cannot be served.")
    ] = False,
    state: Annotated[State | None, typer.Option(help="Only methods in this state.")] = None,
    as_json: Json = False,
) -> None:
    """List the published methods and what can be done with each.

    The last column is what `kokeshi export` takes for it, the retriever or diagnostic that it is,
    or why it cannot be served; with NAME, all of it is told.
    """
    from kokeshi import catalogue
    from kokeshi.registry import discover

    registry = discover()
    plugins = (registry.methods, registry.checkpoints, registry.retrievers, registry.diagnostics)
    entries = catalogue.entries(plugin for kind in plugins for plugin in kind.values())
    others = sorted(set(registry.names()) - {known for e in entries for known in e.names})
    wanted = {state} if state else set() if everything or name else set(EXPORTABLE)
    chosen = [entry for entry in entries if not wanted or entry.state in wanted]
    if name:
        others = [other for other in others if _is_named(name, [other])]
        chosen = _find(name, chosen, others)
    if as_json:
        print_json({"methods": chosen, "uncatalogued": others})
    elif name and chosen:
        print("\n\n".join("\n".join(_told(entry)) for entry in chosen))
    elif not name:
        print_table(["number ", "method", "state", "export"], map(_cells, chosen))
    if others and not as_json:
        note(textwrap.fill(f"kokeshi export also takes: {', '.join(others)}", COLUMNS))
    if not name:
        note(f"{len(chosen)} of {len(entries)} methods")


def _find(name: str, entries: Sequence["Entry"], others: Sequence[str]) -> list["Entry"]:
    """Those of exactly this name, else those that have it in their name or title.

    Raises:
        SetupError: there is none, and no plugin outside the catalogue either.
    """
    exact = [e for e in entries if _is_named(name, [str(e.number), e.short, *e.names])]
    found = exact or [e for e in entries if name.lower() in f"{e.short}\n{e.title}".lower()]
    if not found and not others:
        names = [known for e in entries for known in (e.short, *e.names)]
        near = get_close_matches(name, names)
        hint = f"; did you mean {', '.join(map(repr, near))}" if near else ""
        raise SetupError(f"no method is named {name!r}{hint}")
    return found


def _is_named(name: str, names: Sequence[str]) -> bool:
    opened = (known for known in names if known.endswith("/"))  # prefixes of a library's names
    return name.lower() in map(str.lower, names) or any(map(name.startswith, opened))


def _cells(entry: "Entry") -> list[object]:
    first, *rest = entry.names or entry.runs or (entry.reason,)
    last = f"{first} and {len(rest)} more" if rest else first
    return [
        entry.number,
        textwrap.shorten(entry.short, METHOD_CHARACTERS, placeholder=" ..."),
        entry.state,
        textwrap.shorten(last, LAST_CHARACTERS, placeholder=" ..."),
    ]


def _told(entry: "Entry") -> Iterator[str]:
    yield f"{entry.short}, number {entry.number}"
    told = {
        "title": entry.title,
        "state": entry.state,
        "reason": entry.reason,
        "tasks": ", ".join(entry.tasks),
        "export": ", ".join(entry.names),
        "runs": ", ".join(entry.runs),
    }
    for what, text in told.items():
        if text:
            yield textwrap.fill(
                text,
                COLUMNS,
                initial_indent=f"  {what:<8}",
                subsequent_indent=" " * 10,
                break_long_words=False,
            )

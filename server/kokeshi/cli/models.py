"""`kokeshi models`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kokeshi.cli.options import TIMEOUT_S, Json, Server, TimeoutS, connect, new_app
from kokeshi.cli.output import print_json, print_table

if TYPE_CHECKING:
    from kokeshi.engines.repository import Entry
    from kokeshi.gateway.client import ServedModel

app = new_app()

_UNREADABLE: Final = "unreadable"
_NO_CARD: Final = "no card: answers tensors (KServe v2) alone"


@app.command()
def models(
    *,
    repository: Annotated[
        Path | None, typer.Option(help="Read this folder instead of asking a server.")
    ] = None,
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """List the models of a running server, or of a folder.

    A folder's models are "present" or "unreadable": whether they load, only a server or `kokeshi
    doctor` knows.
    """
    if repository is not None:
        rows = list(_in_folder(repository))
    else:
        with connect(server, timeout_s) as client:
            rows = [_served(client.model(one.name, one.version)) for one in client.models()]
    if as_json:
        print_json({"models": rows})
        return
    print_table(
        [
            "model",
            "version ",
            "state",
            "method",
            "tasks",
            "dimensions",
            "classes ",
            "licence",
            "remark",
        ],
        (_cells(row) for row in rows),
    )


def _cells(row: dict[str, Any]) -> list[object]:
    lists = (", ".join(map(str, row[name])) for name in ("tasks", "dimensions"))
    remark = row["reason"] or ("" if row["trained"] else "untrained")
    start = [row[name] for name in ("name", "version", "state", "method")]
    return [*start, *lists, row["label_count"] or "", row["licence"], remark]


def _served(model: "ServedModel") -> dict[str, Any]:
    told = {name: value for name, value in vars(model).items() if name != "card"}
    return {**told, "licence": model.card.checkpoint.licence if model.card else ""}


def _in_folder(repository: Path) -> Iterator[dict[str, Any]]:
    from kokeshi.engines.repository import Entry, scan
    from kokeshi.errors import ArtefactError

    for found in scan(repository):
        if isinstance(found, Entry):
            try:
                yield _present(found)
            except ArtefactError as error:
                yield _without_card(found.name, found.version, _UNREADABLE, str(error))
        else:
            yield _without_card(found.name, 0, _UNREADABLE, found.reason)


def _present(entry: "Entry") -> dict[str, Any]:
    from kokeshi.gateway.models import dimensions

    if not entry.has_card:
        return _without_card(entry.name, entry.version, "present", _NO_CARD)
    card = entry.card()
    return {
        "name": card.name,
        "version": card.version,
        "state": "present",
        "reason": "",
        "method": card.method,
        "tasks": card.tasks,
        "space": card.space,
        "dimensions": dimensions(card),
        "label_count": len(card.labels),
        "trained": card.checkpoint.trained,
        "licence": card.checkpoint.licence,
    }


def _without_card(name: str, version: int, state: str, reason: str) -> dict[str, Any]:
    empty: dict[str, Any] = {"method": "", "tasks": [], "space": "", "dimensions": []}
    told = {"name": name, "version": version, "state": state, "reason": reason}
    return {**told, **empty, "label_count": 0, "trained": True, "licence": ""}

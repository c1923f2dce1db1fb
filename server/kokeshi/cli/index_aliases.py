"""`kokeshi index alias`, `aliases` and `delete-alias`: other names of collections."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from kokeshi.cli.options import TIMEOUT_S, Json, Server, TimeoutS, connect
from kokeshi.cli.output import print_json, print_table

if TYPE_CHECKING:
    from kokeshi.service.types import Alias


def alias(
    pairs: Annotated[
        list[str], typer.Argument(metavar="ALIAS=COLLECTION", help="An alias and what it is of.")
    ],
    *,
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Point aliases at collections, all at once or none; those that exist move."""
    from kokeshi.service.types import Alias

    wanted = [Alias(*_split(pair)) for pair in pairs]
    with connect(server, timeout_s) as client:
        _tell(client.set_aliases(wanted), as_json=as_json)


def _split(pair: str) -> tuple[str, str]:
    name, sign, collection = pair.partition("=")
    if not (name and sign and collection):
        raise typer.BadParameter(f"expected ALIAS=COLLECTION, got {pair!r}")
    return name, collection


def aliases(
    collection: Annotated[
        str, typer.Argument(metavar="NAME", help="A collection; without it all.")
    ] = "",
    *,
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """List aliases, of one collection or of all."""
    with connect(server, timeout_s) as client:
        _tell(client.list_aliases(collection), as_json=as_json)


def delete_alias(
    name: Annotated[str, typer.Argument(metavar="ALIAS", help="Name of the alias.")],
    *,
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Remove an alias; the collection stays."""
    with connect(server, timeout_s) as client:
        client.delete_alias(name)
    if as_json:
        print_json({"deleted": name})
    else:
        print(f"removed the alias {name}")


def _tell(found: "Sequence[Alias]", *, as_json: bool) -> None:
    if as_json:
        print_json({"aliases": found})
        return
    print_table(["alias", "collection"], ((one.name, one.collection) for one in found))

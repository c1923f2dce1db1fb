"""`kokeshi index ...`: makes, fills and searches collections."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from kokeshi.cli.index_aliases import alias, aliases, delete_alias
from kokeshi.cli.index_backup import backup, restore, verify
from kokeshi.cli.index_doctor import doctor
from kokeshi.cli.index_explain import explain
from kokeshi.cli.index_export import export
from kokeshi.cli.index_fit import fit, fitted
from kokeshi.cli.index_import import import_
from kokeshi.cli.index_items import add, count, delete_items, get, tenants
from kokeshi.cli.index_migrate import migrate
from kokeshi.cli.index_options import Name, Yes, ask
from kokeshi.cli.index_tune import tune
from kokeshi.cli.options import TIMEOUT_S, Json, Server, TimeoutS, connect, new_app
from kokeshi.cli.output import print_json, print_table
from kokeshi.cli.search import search
from kokeshi.errors import AlreadyExistsError

if TYPE_CHECKING:
    from kokeshi.service.types import CollectionInfo

app = new_app()


@app.callback()
def _index() -> None:
    """Make, fill and search collections."""


@app.command()
def create(
    name: Name,
    *,
    model: Annotated[str, typer.Option(help="Model whose embedding space the collection takes.")],
    kind: Annotated[
        Literal["auto", "flat", "codes", "hnsw", "ivf", "panorama", "gpu"],
        typer.Option("--index", help="auto chooses by size, dimensions and memory."),
    ] = "auto",
    durability: Annotated[
        Literal["fsync", "os"],
        typer.Option(help="Acknowledge a write when it is on disk, or when the system has it."),
    ] = "fsync",
    metric: Annotated[
        Literal["cosine", "ip", "l2", "hyperbolic"] | None,
        typer.Option(
            help="How vectors are compared [default: as the model's card says]. cosine, ip and l2 "
            "stand for one another; hyperbolic is of models made for it."
        ),
    ] = None,
    if_missing: Annotated[
        bool,
        typer.Option("--if-missing", help="Keep one that is there for the same model and metric."),
    ] = False,
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Make an empty collection."""
    with connect(server, timeout_s) as client:
        try:
            info = client.create_collection(
                name, model, index=kind, durability=durability, metric=metric or ""
            )
        except AlreadyExistsError:
            info = client.describe_collection(name)
            same = info.model == model and metric in {None, info.metric}
            if not (if_missing and same):
                raise
    _tell([info], as_json=as_json, value=info)


@app.command("list")
def list_collections(
    *, server: Server = None, timeout_s: TimeoutS = TIMEOUT_S, as_json: Json = False
) -> None:
    """List the collections."""
    with connect(server, timeout_s) as client:
        infos = client.list_collections()
    _tell(infos, as_json=as_json, value={"collections": infos})


@app.command()
def describe(
    name: Name, *, server: Server = None, timeout_s: TimeoutS = TIMEOUT_S, as_json: Json = False
) -> None:
    """Show one collection."""
    with connect(server, timeout_s) as client:
        info = client.describe_collection(name)
    if as_json:
        print_json(info)
        return
    print_table(["what", "value"], ((what, _shown(value)) for what, value in vars(info).items()))


def _shown(value: object) -> str:
    if value in (None, ""):
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _tell(infos: Iterable["CollectionInfo"], *, as_json: bool, value: object) -> None:
    if as_json:
        print_json(value)
        return
    print_table(
        ["name", "items ", "model", "space", "dimension ", "index"],
        map(_line, infos),
    )


def _line(info: "CollectionInfo") -> tuple[object, ...]:
    if info.quarantine:  # what was read before the damage says nothing
        return info.name, "-", info.model, info.space, "-", f"in quarantine: {info.quarantine}"
    return info.name, info.count, info.model, info.space, info.dimension, info.index_in_use


@app.command()
def delete(
    name: Name,
    *,
    yes: Yes = False,
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Remove a collection with all its items."""
    with connect(server, timeout_s) as client:
        info = client.describe_collection(name)
        items = "all that it holds" if info.quarantine else f"its {info.count} items"
        if not yes:
            ask(f"remove {name!r} with {items}?")
        client.delete_collection(name)
    if as_json:
        print_json({"deleted": name, "items": info.count})
    else:
        print(f"removed {name} with {items}")


_ITEMS: Final[tuple[Callable[..., None], ...]] = (
    add,
    get,
    count,
    tenants,
    search,
    explain,
    delete_items,
    alias,
    aliases,
    delete_alias,
)
_WHOLE: Final[tuple[Callable[..., None], ...]] = (
    export,
    tune,
    doctor,
    fit,
    fitted,
    backup,
    restore,
    verify,
    migrate,
)

for _command in _ITEMS:  # in the order of the help
    app.command()(_command)
app.command("import")(import_)
for _command in _WHOLE:
    app.command()(_command)

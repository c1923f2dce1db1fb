"""`kokeshi index ...`: makes, fills and searches collections."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kokeshi.cli.options import TIMEOUT_S, Json, Server, TimeoutS, connect, new_app
from kokeshi.cli.output import note, numbers, print_json, print_table, progress
from kokeshi.cli.search import search
from kokeshi.errors import AlreadyExistsError, SetupError

if TYPE_CHECKING:
    from kokeshi.service.types import CollectionInfo

app = new_app()
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the collection.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID", help="Ids of items.")]


@app.callback()
def _index() -> None:
    """Make, fill and search collections."""


@app.command()
def create(
    name: Name,
    *,
    model: Annotated[str, typer.Option(help="Model whose embedding space the collection takes.")],
    kind: Annotated[
        Literal["auto", "flat", "hnsw"],
        typer.Option("--index", help="auto is flat while small and HNSW when large."),
    ] = "auto",
    durability: Annotated[
        Literal["fsync", "os"],
        typer.Option(help="Acknowledge a write when it is on disk, or when the system has it."),
    ] = "fsync",
    if_missing: Annotated[
        bool, typer.Option("--if-missing", help="Keep one that is there for the same model.")
    ] = False,
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Make an empty collection."""
    with connect(server, timeout_s) as client:
        try:
            info = client.create_collection(name, model, index=kind, durability=durability)
        except AlreadyExistsError:
            info = client.describe_collection(name)
            if not (if_missing and info.model == model):
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
    print_table(["what", "value"], vars(info).items())


def _tell(infos: Iterable["CollectionInfo"], *, as_json: bool, value: object) -> None:
    if as_json:
        print_json(value)
        return
    print_table(
        ["name", "items ", "model", "space", "dimension ", "index"],
        ((i.name, i.count, i.model, i.space, i.dimension, i.index_in_use) for i in infos),
    )


@app.command()
def delete(
    name: Name,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Remove a collection with all its items."""
    with connect(server, timeout_s) as client:
        count = client.describe_collection(name).count
        if not yes:
            _ask(f"remove {name!r} with its {count} items?")
        client.delete_collection(name)
    if as_json:
        print_json({"deleted": name, "items": count})
    else:
        print(f"removed {name} with its {count} items")


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise SetupError("nobody is there to ask; --yes removes without asking")
    if not typer.confirm(question, err=True):
        raise SetupError("nothing was removed")


@app.command()
def add(
    name: Name,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH", help="Image files, folders with all below them, zip archives."
        ),
    ],
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace items whose id exists.")
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave items whose id exists as they are.")
    ] = False,
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Embed and keep images.

    The id of an item is its path inside the folder or archive; its metadata are that path ("file")
    and the name of the folder it lies in ("label"), if it lies in one.
    """
    from kokeshi.cli.ingest import Filling
    from kokeshi.cli.pictures import opened
    from kokeshi.service.types import OnConflict

    if replace and skip_existing:
        raise typer.BadParameter("--replace and --skip-existing exclude each other")
    conflict = OnConflict.REPLACE if replace else OnConflict.FAIL
    with (
        opened(paths) as pictures,
        connect(server, timeout_s) as client,
        progress("images") as bar,
    ):
        task = bar.add_task(name, total=len(pictures.found))
        filling = Filling(
            client, name, conflict, skip_existing, lambda count: bar.advance(task, count)
        )
        filling.run(pictures.found)
    if pictures.ignored:
        note(f"ignored {pictures.ignored} files that are no images")
    if as_json:
        print_json(
            {"added": filling.added, "skipped": filling.skipped, "ignored": pictures.ignored}
        )
    else:
        print(f"added {filling.added} images to {name}, left {filling.skipped} as they were")


@app.command()
def get(
    name: Name,
    ids: Ids,
    *,
    vectors: Annotated[bool, typer.Option("--vectors", help="With the vectors.")] = False,
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Show items by id."""
    import orjson

    with connect(server, timeout_s) as client:
        items = client.get_items(name, ids, with_vectors=vectors)
    if as_json:
        print_json({"items": items})
        return
    print_table(
        ["id", "sequence ", "metadata", *(["vector"] if vectors else [])],
        (
            (item.id, item.sequence, orjson.dumps(item.metadata).decode(), numbers(item.vector))
            if item.vector is not None
            else (item.id, item.sequence, orjson.dumps(item.metadata).decode())
            for item in items
        ),
    )


@app.command()
def delete_items(
    name: Name,
    ids: Ids,
    *,
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Remove items by id; an id that does not exist is no error."""
    with connect(server, timeout_s) as client:
        written = client.delete_items(name, ids)
    if as_json:
        print_json(written)
    else:
        print(f"removed {written.count} of {len(ids)} items from {name}")


app.command()(search)

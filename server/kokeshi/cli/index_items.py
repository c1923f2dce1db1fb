"""`kokeshi index add`, `get`, `count`, `tenants` and `delete-items`: a collection's items."""

from pathlib import Path
from typing import Annotated

import typer

from kokeshi.cli.index_options import Filter, Ids, Name, Tenant, Yes, ask, filter_json
from kokeshi.cli.options import TIMEOUT_S, Json, Server, TimeoutS, connect
from kokeshi.cli.output import note, numbers, print_json, print_table, progress


def add(
    name: Name,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH", help="Image files, folders with all below them, zip archives."
        ),
    ],
    *,
    tenant: Tenant = "",
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
            client,
            name,
            conflict,
            skip_existing,
            lambda count: bar.advance(task, count),
            tenant=tenant,
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


def get(
    name: Name,
    ids: Ids,
    *,
    tenant: Tenant = "",
    vectors: Annotated[bool, typer.Option("--vectors", help="With the vectors.")] = False,
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Show items by id."""
    import orjson

    with connect(server, timeout_s) as client:
        items = client.get_items(name, ids, with_vectors=vectors, tenant=tenant)
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


def count(
    name: Name,
    *,
    where: Filter = None,
    tenant: Tenant = "",
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Count the items of a tenant that fit a filter."""
    wanted = filter_json(where)
    with connect(server, timeout_s) as client:
        found = client.count_items(name, filter=wanted, tenant=tenant)
    if as_json:
        print_json({"count": found})
    else:
        print(found)


def tenants(
    name: Name, *, server: Server = None, timeout_s: TimeoutS = TIMEOUT_S, as_json: Json = False
) -> None:
    """List whose items a collection has, and how many; - stands for nobody's."""
    with connect(server, timeout_s) as client:
        found = client.list_tenants(name)
    if as_json:
        print_json({"tenants": found})
        return
    print_table(["tenant", "items "], ((one.name or "-", one.count) for one in found))


def delete_items(
    name: Name,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Ids of items.", show_default=False)
    ] = None,
    *,
    where: Filter = None,
    tenant: Tenant = "",
    yes: Yes = False,
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Remove items by id, or all that fit a filter; an id that does not exist is no error."""
    if bool(ids) == (where is not None):
        raise typer.BadParameter("name ids, or give a --filter: one of the two")
    wanted = filter_json(where)
    with connect(server, timeout_s) as client:
        if wanted is not None and not yes:
            fitting = client.count_items(name, filter=wanted, tenant=tenant)
            ask(f"remove {fitting} items from {name!r}?")
        written = client.delete_items(name, ids or (), filter=wanted, tenant=tenant)
    if as_json:
        print_json(written)
    elif ids:
        print(f"removed {written.count} of {len(ids)} items from {name}")
    else:
        print(f"removed {written.count} items from {name}")

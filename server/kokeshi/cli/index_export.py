"""`kokeshi index export`: writes the items of a collection to a file."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kokeshi.cli.index_options import Filter, Name, Tenant, filter_json
from kokeshi.cli.options import TIMEOUT_S, Json, Server, TimeoutS, connect
from kokeshi.cli.output import note, print_json, progress
from kokeshi.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.progress import Progress

    from kokeshi.cli.index_exchange.spool import Spool
    from kokeshi.gateway.client import Client

PAGE_BYTES: Final = 8 * 2**20  # of vectors
PAGE_ROWS: Final = 1000
_VALUE_BYTES: Final = 4


def export(
    name: Name,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help=".parquet, .npy, .npz, .ndjson or .jsonl.")
    ],
    *,
    where: Filter = None,
    tenant: Tenant = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a file that is there.")
    ] = False,
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Write the items of a tenant to a file; run it again to go on after an interruption.

    Vectors are written as they were given, to the last bit. What is fetched is kept in
    FILE.partial until the file is whole. An item that is replaced meanwhile may come twice, its
    newer self later; a backup is of one moment.
    """
    from kokeshi.cli.index_exchange.targets import files_of, writer_of

    wanted = filter_json(where)
    writer_of(file)  # refuses before anything is fetched
    there = [path for path in files_of(file) if path.exists()]
    if there and not replace:
        raise SetupError(f"{there[0]} exists; --replace replaces it")
    started_s = time.monotonic()
    try:
        with connect(server, timeout_s) as client:
            rows, fetched = _run(client, name, file, wanted, tenant)
    except OSError as error:
        raise SetupError(f"cannot write {file}: {error.strerror or error}") from None
    seconds = time.monotonic() - started_s
    if as_json:
        print_json({"collection": name, "rows": rows, "seconds": seconds})
    else:
        print(f"wrote {rows} items of {name} to {' and '.join(map(str, files_of(file)))}")
    note(f"{seconds:.1f} s, {fetched / seconds:,.0f} rows/s")


def _run(
    client: "Client", name: str, file: Path, wanted: "Mapping[str, Any] | None", tenant: str
) -> tuple[int, int]:
    """Writes the file; the rows of it, and those that were fetched for it now."""
    from kokeshi.cli.index_exchange.spool import Spool
    from kokeshi.cli.index_exchange.targets import writer_of

    info = client.describe_collection(name)
    about: dict[str, Any] = {"collection": info.name, "model": info.model, "space": info.space}
    about |= {"metric": info.metric, "dimension": info.dimension}
    question = {**about, "tenant": tenant, "filter": wanted}
    with Spool(file.with_name(f"{file.name}.partial"), question, info.dimension) as spool:
        before = spool.progress.rows
        with progress("rows") as bar:
            _fetch(client, name, spool, bar)
        writer_of(file)(spool, file, about)
        rows = spool.progress.rows
    spool.remove()
    return rows, rows - before


def _fetch(client: "Client", name: str, spool: "Spool", bar: "Progress") -> None:
    """Keeps page after page."""
    done, question = spool.progress, spool.progress.question
    how: dict[str, Any] = {"filter": question["filter"], "tenant": question["tenant"]}
    most = min(client.info().limits.max_k, PAGE_ROWS)
    page_rows = max(1, min(most, PAGE_BYTES // (_VALUE_BYTES * question["dimension"])))
    task = bar.add_task(name, total=client.count_items(name, **how))
    started_s, before = time.monotonic(), done.rows
    while done.cursor is not None:
        page = client.list_items(
            name, page_size=page_rows, page_token=done.cursor, with_vectors=True, **how
        )
        spool.add(page.items, page.next_page_token or None)
        rate = (done.rows - before) / (time.monotonic() - started_s)
        bar.update(task, completed=done.rows, description=f"{name}, {rate:,.0f} rows/s")

"""`kokeshi index migrate`: moves a collection from one store to another."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kokeshi.cli.options import Json, StoreTuning, load_settings
from kokeshi.cli.output import note, print_json, progress
from kokeshi.errors import SetupError

if TYPE_CHECKING:
    from kokeshi.index import Store
    from kokeshi.index.migrate_report import Progress, Report
    from kokeshi.settings import Settings

STORES: Final = (
    "embedded:FOLDER, socket:FILE, milvus:http://HOST:19530, qdrant:http://HOST:6333 or "
    "qdrant:FOLDER"
)
SOURCE_KEY: Final = "KOKESHI_SOURCE_KEY"
TARGET_KEY: Final = "KOKESHI_TARGET_KEY"


def migrate(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the collection.")],
    *,
    source: Annotated[str, typer.Option("--from", help=f"Store that has it: {STORES}.")],
    target: Annotated[str, typer.Option("--to", help="Store that gets it, named as --from.")],
    target_name: Annotated[
        str | None, typer.Option("--as", help="Name at the target, where it is another.")
    ] = None,
    tenants: Annotated[
        list[str] | None,
        typer.Option(
            "--tenant",
            help="Every tenant that has items; repeat it [default: all, where the store can list "
            "them].",
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", help="File that keeps how far it is [default: migrate-NAME.json]."),
    ] = None,
    page_rows: Annotated[
        int, typer.Option("--page-rows", min=1, max=1000, help="Rows of a page.")
    ] = 500,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Make the target as the source is, whoever changed it."),
    ] = False,
    store_tuning: StoreTuning = None,
    as_json: Json = False,
) -> None:
    """Move a collection to another store, while it is used; run it again to go on.

    Nothing is deleted at the source. Credentials come from KOKESHI_SOURCE_KEY and
    KOKESHI_TARGET_KEY. It ends well when every row of the target was compared and is the same: then
    stop writes, run it once more, and point the servers to the target.
    """
    from kokeshi.index.migrate import Migration

    settings = load_settings(store_tuning=store_tuning)
    with (
        opened(source, SOURCE_KEY, settings, is_source=True) as first,
        opened(target, TARGET_KEY, settings) as second,
        progress("rows") as bar,
    ):
        task = bar.add_task(name, total=None)

        def tell(one: "Progress") -> None:
            bar.update(
                task,
                completed=one.done,
                total=max(one.total, one.done),
                description=f"{one.phase} {name}, {one.rows_per_s:,.0f} rows/s",
            )

        report = Migration(
            first,
            second,
            name,
            target_name=target_name,
            tenants=tenants,
            state=state or Path(f"migrate-{name}.json"),
            page_rows=page_rows,
            repair=repair,
            labels=(source, target),
            progress=tell,
        ).run()
    _tell(name, report, as_json=as_json)


@contextmanager
def opened(
    address: str,
    key_variable: str,
    settings: "Settings | None" = None,
    *,
    is_source: bool = False,
) -> "Iterator[Store]":
    """The store at an address, see `STORES`; it is closed at the end.

    Args:
        address: of the store.
        key_variable: environment variable of its credential.
        settings: tune an embedded store; None: as the environment has them.
        is_source: it is to be there; a folder that holds no store is not made one.

    Raises:
        SetupError: it is no address of a store, or there is none.
    """
    key = os.environ.get(key_variable, "")
    store = _open(address, key, settings or load_settings(), is_source=is_source)
    try:
        yield store
    finally:
        store.close()


def _open(address: str, key: str, settings: "Settings", *, is_source: bool) -> "Store":
    kind, _, where = address.partition(":")
    is_url = where.startswith(("http://", "https://"))
    if kind == "embedded" and where:
        from kokeshi.cli.stores import embedded, embedded_in

        return (embedded_in if is_source else embedded)(Path(where), settings)
    if kind == "socket" and where:
        from kokeshi.index.remote import RemoteStore

        return RemoteStore(Path(where))
    if kind == "milvus" and is_url:
        from kokeshi.index.milvus import MilvusStore

        return MilvusStore(where, token=key)
    if kind == "qdrant" and where:
        from kokeshi.index.qdrant import QdrantStore

        if is_source and not is_url and not Path(where).is_dir():
            raise SetupError(f"there is no store in {where}")
        return QdrantStore(where, api_key=key) if is_url else QdrantStore(path=Path(where))
    raise SetupError(f"no store at {address!r}: expected {STORES}")


def _tell(name: str, report: "Report", *, as_json: bool) -> None:
    if as_json:
        print_json({**asdict(report), "rows_per_s": report.rows_per_s})
    else:
        print(
            f"copied {report.copied} rows of {name} in {report.seconds:.1f} s "
            f"({report.rows_per_s:,.0f} rows/s), removed {report.removed}"
        )
    for one in report.differences:
        note(str(one))
    if report.is_same:
        note(f"all {report.rows} rows are the same: stop writes, run this once more, and switch")
        return
    if report.difference_count:
        raise SetupError(f"{report.difference_count} rows of {name} are not the same")
    raise SetupError(f"{name} is written to faster than it is compared: run this again")

"""`kokeshi index import`: fills a collection from a file or a folder."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kokeshi.cli.index_options import Name, Tenant
from kokeshi.cli.options import TIMEOUT_S, Json, Server, TimeoutS, connect
from kokeshi.cli.output import note, print_json, progress
from kokeshi.errors import SetupError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from kokeshi.cli.index_exchange.filling import State


def import_(
    name: Name,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", exists=True, help=".parquet, .npy, .npz, .ndjson, .jsonl, or a folder."
        ),
    ],
    *,
    tenant: Tenant = "",
    on_conflict: Annotated[
        Literal["fail", "replace", "skip"],
        typer.Option(help="An id that exists: an error, replaced, or left as it is."),
    ] = "fail",
    metadata: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Metadata of a folder or an array, if not beside it under the usual name.",
        ),
    ] = None,
    id_field: Annotated[str, typer.Option(help="Field or column of the ids.")] = "id",
    vector_field: Annotated[str, typer.Option(help="Field or column of the vectors.")] = "vector",
    space: Annotated[
        str,
        typer.Option(
            help="Space of the vectors [default: as the file says, else the collection's]."
        ),
    ] = "",
    state: Annotated[
        Path | None,
        typer.Option(help="File that keeps how far it is [default: import-NAME.json]."),
    ] = None,
    errors: Annotated[
        Path | None,
        typer.Option(help="File for what was refused [default: import-NAME.errors.jsonl]."),
    ] = None,
    server: Server = None,
    timeout_s: TimeoutS = TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Fill a collection from a file; run it again to go on after an interruption.

    A record is an id, a vector, a text or an image, and metadata. Vectors are stored as they are,
    images and texts are embedded by the collection's model. A record that is refused does not stop
    the others; the exit status is then 1, and a file says which and why. A second run of the same
    file stores nothing twice.
    """
    from kokeshi.cli.index_exchange.fields import Fields
    from kokeshi.cli.index_exchange.filling import Filling
    from kokeshi.cli.index_exchange.sources import opened

    source = opened(file, sidecar=metadata, fields=Fields(id_field, vector_field))
    refused = errors or Path(f"import-{name}.errors.jsonl")
    started_s = time.monotonic()
    with connect(server, timeout_s) as client, progress("rows") as bar:
        task = bar.add_task(name, total=source.total)
        filling = Filling(
            client,
            name,
            source,
            state or Path(f"import-{name}.json"),
            refused,
            on_conflict,
            tenant,
            space or source.space,
            Meter(bar, task, name, source.total),
        )
        done = filling.run()
    seconds = time.monotonic() - started_s
    _tell(name, done, as_json=as_json, seconds=seconds)
    if filling.set_aside:
        note(f"{filling.set_aside} has what an earlier import was refused")
    note(f"{seconds:.1f} s, {(done.next - filling.began) / seconds:,.0f} rows/s")
    if done.failed:
        raise SetupError(
            f"{done.failed} of {done.next} rows were refused: see {refused}, "
            f"which begins with: {_first(refused)}"
        )


def _first(refused: Path) -> str:
    import orjson

    with refused.open("rb") as file:
        one = orjson.loads(file.readline())
    return f"row {one['row']}: {one['message']}"


class Meter:
    """Shows how far an import is, and how fast since it began or went on."""

    def __init__(self, bar: "Progress", task: "TaskID", name: str, total: int | None) -> None:
        self._bar = bar
        self._task = task
        self._name = name
        self._total = total
        self._first: tuple[float, int] | None = None

    def __call__(self, state: "State") -> None:
        """Tells of a state."""
        now_s = time.monotonic()
        self._first = self._first or (now_s, state.next)
        since_s, rows = now_s - self._first[0], state.next - self._first[1]
        rate = f", {rows / since_s:,.0f} rows/s" if since_s else ""
        self._bar.update(
            self._task,
            completed=state.next,
            total=self._total,
            description=f"{self._name}{rate}",
        )


def _tell(name: str, done: "State", *, as_json: bool, seconds: float) -> None:
    counts = {
        "stored": done.stored,
        "stored_before": done.known,
        "skipped": done.skipped,
        "failed": done.failed,
    }
    if as_json:
        print_json({"collection": name, "rows": done.next, **counts, "seconds": seconds})
        return
    before = f", {done.known} were stored before" if done.known else ""
    print(
        f"stored {done.stored} of {done.next} rows in {name}, "
        f"left {done.skipped} as they were{before}"
    )

"""`kokeshi index tune`: on the files of a server that does not run."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kokeshi.cli.options import Json, StoreTuning, load_settings
from kokeshi.cli.output import note, print_json, print_table, progress
from kokeshi.errors import SetupError

if TYPE_CHECKING:
    from kokeshi.index.recall.ledger import Point
    from kokeshi.index.recall.report import Report
    from kokeshi.index.recall.surveying import Query
    from kokeshi.index.store import Store

QUERIES: Final = 256
BUILD_TIMEOUT_S: Final = 24 * 3600.0
_MATRIX_AXES: Final = 2


def tune(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the collection.")],
    *,
    data: Annotated[
        Path | None, typer.Option("--data", help="Data directory of the server (KOKESHI_DATA).")
    ] = None,
    store_tuning: StoreTuning = None,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="Neighbours per query.")] = 10,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Array of shape (queries, dim) in a .npy file; without it, items are the queries."
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=2, help="Queries, at most.")] = QUERIES,
    plot: Annotated[Path | None, typer.Option(help="SVG file for the plots.")] = None,
    keep: Annotated[
        bool,
        typer.Option("--keep/--dry-run", help="Let the server choose by what was measured."),
    ] = True,
    as_json: Json = False,
) -> None:
    """Measure recall and time of each way to search a collection, and of each prefix length.

    No server may have the data directory open. Measure on a machine that does nothing else, with
    the thresholds of the server: they decide which graph there is to measure.
    """
    from kokeshi.cli.stores import embedded_in
    from kokeshi.index.notes import Notes
    from kokeshi.index.recall.keeping import NotesKeeper
    from kokeshi.index.recall.plot import draw
    from kokeshi.index.recall.report import measure

    settings = load_settings(data=data, store_tuning=store_tuning)
    with embedded_in(settings.data, settings) as store, progress("percent") as bar:
        store.describe(name)
        task = bar.add_task(name, total=100)
        if not store.wait_idle(BUILD_TIMEOUT_S):
            raise SetupError(f"the index of {name!r} was not built in time")
        report = measure(
            store,
            name,
            _queries(store, name, queries, count),
            k=k,
            progress=lambda share: bar.update(task, completed=int(100 * share)),
        )
    if keep:
        with Notes(settings.data) as notes:
            NotesKeeper(notes).save(name, report.curve.encoded())
    if as_json:
        _print_json(name, report)
    else:
        _print(report)
    if plot is not None:  # after all that was measured is told: it may not be possible
        draw(report, plot)
        note(f"drew {plot}")


def _queries(store: "Store", name: str, file: Path | None, count: int) -> "Sequence[Query]":
    """Given vectors, or items drawn at random."""
    import random

    import numpy as np

    from kokeshi.index.recall.surveying import Effort, Query, drawn

    info = store.describe(name)
    if file is None:
        return drawn(store, info, Effort(count), random.Random(0), nullcontext)
    try:
        vectors = np.load(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SetupError(f"cannot read {file}: {error}") from None
    if vectors.ndim != _MATRIX_AXES or vectors.shape[1] != info.spec.dim:
        raise SetupError(
            f"expected an array of shape (queries, {info.spec.dim}) in {file}, "
            f"got shape {vectors.shape}"
        )
    return [Query(None, vector) for vector in vectors[:count].astype(np.float32)]


def _print_json(name: str, report: "Report") -> None:
    print_json(
        {
            "collection": name,
            "kind": report.info.kind,
            "count": report.info.count,
            "k": report.k,
            "queries": report.queries,
            "points": report.points,
            "lengths": report.lengths,
        }
    )


def _print(report: "Report") -> None:
    print_table(
        ["way", "recall ", "low ", "high ", "queries ", "p50 ms ", "p95 ms "],
        (_row(point) for point in report.points),
    )
    if report.lengths:
        print()
        print_table(
            ["prefix alone ", "recall ", "low ", "high "],
            (
                (one.dimension, *map(_share, (one.recall.value, one.recall.low, one.recall.high)))
                for one in report.lengths
            ),
        )
    source = f"{report.info.count} items of {report.info.spec.dim}, {report.queries} queries"
    print(f"{source}, k = {report.k}")


def _row(point: "Point") -> tuple[object, ...]:
    recall = point.recall
    if recall is None or point.typical_s is None or point.tail_s is None:
        return (point.dial.label, *[""] * 6)
    return (
        point.dial.label,
        *map(_share, (recall.value, recall.low, recall.high)),
        recall.samples or "exact",
        f"{1000 * point.typical_s:.2f}",
        f"{1000 * point.tail_s:.2f}",
    )


def _share(share: float) -> str:
    return f"{share:.4f}"

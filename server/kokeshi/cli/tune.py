"""`kokeshi tune`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from kokeshi.cli.options import Json, Repository, load_settings, new_app
from kokeshi.cli.output import note, print_json, print_table
from kokeshi.errors import SetupError

if TYPE_CHECKING:
    from kokeshi.card import Candidate, Tuning

_MIB: Final = 1 << 20

app = new_app()


@app.command()
def tune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a model folder.")],
    *,
    apply: Annotated[
        bool, typer.Option("--apply/--dry-run", help="Make the model run what was chosen.")
    ] = True,
    goal: Annotated[
        Literal["throughput", "latency"],
        typer.Option("--for", help="What to be the fastest in; latency is that of one run."),
    ] = "throughput",
    fidelity: Annotated[
        list[str] | None,
        typer.Option(metavar="MEASURE=BOUND", help='Such as "cosine=0.99"; repeat it.'),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of pictures to measure fidelity on.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Folder of other pictures, to calibrate int8 graphs on.")
    ] = None,
    batch_sizes: Annotated[
        str, typer.Option(metavar="SIZES", help="Images of one run, with commas.")
    ] = "1,8,32",
    seconds: Annotated[
        float, typer.Option(min=0.01, help="For each candidate at each batch size.")
    ] = 2.0,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Measure candidates named so alone; repeat it."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="SVG file for the plot of speed against fidelity.")
    ] = None,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="Also write model.plan, for Triton's TensorRT backend; on a GPU."
        ),
    ] = False,
    repository: Repository = None,
    as_json: Json = False,
) -> None:
    """Find the fastest way to run a model on this machine that stays faithful to it.

    Every candidate runs in a process of its own, and is compared with the verified graph in fp32
    on pictures. The fastest that keeps every bound is written into the card and config.pbtxt.
    """
    from kokeshi.engines.runtimes.machine import this_machine
    from kokeshi.tune import Options, draw, parse_bounds
    from kokeshi.tune import tune as run

    settings = load_settings(repository=repository)
    options = Options(
        cores=settings.engine_threads,
        goal=goal,
        batch_sizes=_sizes(batch_sizes),
        seconds=seconds,
        bounds=parse_bounds(fidelity or ()),
        images=images,
        calibration=calibration,
        cache_folder=settings.engine_cache,
        only=only or (),
    )
    with _stages() as on_progress:
        card = run(
            settings.repository,
            model,
            options,
            this_machine(),
            write=apply,
            plan=plan,
            on_progress=on_progress,
        )
    assert card.tuning is not None  # that is what was asked for
    if as_json:
        print_json(card.tuning)
    else:
        _print(model, card.tuning, applied=apply)
        if plan:
            _print_plan(card.tuning, built=apply)
    if plot is not None:  # after all that was measured is told: it may not be possible
        draw(model, card.tuning, plot)
        note(f"drew {plot}")


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise SetupError(f"batch sizes are numbers with commas between them, not {text!r}")
    return sizes


@contextmanager
def _stages() -> Iterator[Callable[[str, float], None]]:
    """Shows how far it is: a bar on a terminal, else a line for each stage."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    seen: list[str] = []
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        bar = bars.add_task("tuning", total=1.0)

        def on_progress(stage: str, fraction: float) -> None:
            if stage not in seen:
                seen.append(stage)
                if not console.is_terminal:
                    note(stage)
            bars.update(bar, description=stage, completed=fraction)

        yield on_progress


def _print(model: str, tuning: "Tuning", *, applied: bool) -> None:
    sizes = [speed.batch_size for speed in tuning.candidates[0].speeds]
    measures = [(one.output, one.measure) for one in tuning.candidates[0].fidelity]
    columns = [
        "",
        "candidate",
        *(f"images/s at {size} " for size in sizes),
        f"p50 ms at {sizes[0]} ",
        f"p99 ms at {sizes[0]} ",
        *(f"{output}: {measure} " for output, measure in measures),
        "MiB ",
        "remark",
    ]
    print_table(columns, (_row(one, tuning) for one in tuning.candidates))
    print(f"on {tuning.hardware}; fidelity on {tuning.images}")
    if tuning.calibration:
        print(f"int8 graphs were calibrated on {tuning.calibration}")
    does = "runs" if applied else "would run (dry run: nothing was written)"
    print(f"model {model} {does} {tuning.chosen}")


def _print_plan(tuning: "Tuning", *, built: bool) -> None:
    from kokeshi.engines.runtimes.plan import BACKEND, PLAN_FILE
    from kokeshi.tune import planned

    is_it = "is" if built else "would be"
    print(
        f"{PLAN_FILE} {is_it} {planned(tuning).name}, for Triton's backend {BACKEND!r} on this GPU"
    )


def _row(candidate: "Candidate", tuning: "Tuning") -> list[str]:
    mark = "*" if candidate.name == tuning.chosen else ""
    if candidate.failed:
        width = len(tuning.candidates[0].speeds) + len(tuning.candidates[0].fidelity) + 3
        return [mark, candidate.name, *[""] * width, candidate.failed]
    first = candidate.speeds[0]
    return [
        mark,
        candidate.name,
        *(f"{speed.rows_per_s:.1f}" for speed in candidate.speeds),
        f"{first.p50_ms:.2f}",
        f"{first.p99_ms:.2f}",
        *(f"{one.mean:.5f}" for one in candidate.fidelity),
        f"{candidate.peak_bytes / _MIB:.0f}",
        "" if candidate.faithful else "not faithful",
    ]

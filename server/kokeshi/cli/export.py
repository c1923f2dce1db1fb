"""`kokeshi export`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kokeshi.cli.options import Json, Repository, load_settings, new_app
from kokeshi.cli.output import note, print_json
from kokeshi.errors import SetupError

if TYPE_CHECKING:
    from kokeshi.card import Card, Threshold

app = new_app()


@app.command()
def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What `kokeshi methods` lists.")],
    *,
    weights: Annotated[
        str | None,
        typer.Option(help="File, https address, hub id organisation/name[:file], or pretrained."),
    ] = None,
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Random weights instead, for tests.")
    ] = False,
    model_name: Annotated[
        str | None, typer.Option("--name", help="Folder to write; default made of NAME.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Class names, one per line; default the weights' own.")
    ] = None,
    image_size: Annotated[int | None, typer.Option(min=1, help="Side in pixels.")] = None,
    embedding_layer: Annotated[
        str | None, typer.Option(help="Dotted name of the module to take the embedding from.")
    ] = None,
    opset: Annotated[int | None, typer.Option(min=1, help="ONNX operator set.")] = None,
    max_batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images or texts that one run takes.")
    ] = None,
    thresholds: Annotated[
        Path | None, typer.Option(help="JSON list of calibrated decisions for the card.")
    ] = None,
    weights_licence: Annotated[
        str | None, typer.Option(help="Licence of the weights, for the card.")
    ] = None,
    repository: Repository = None,
    as_json: Json = False,
) -> None:
    """Turn a method and its weights into a verified model folder.

    Nothing appears in the repository before the graph's outputs agree with PyTorch's.
    """
    from kokeshi.export import export as run
    from kokeshi.export.pipeline import OPSET

    with _stages() as on_progress:
        cards = run(
            name,
            repository=load_settings(repository=repository).repository,
            model_name=model_name,
            weights=weights,
            untrained=untrained,
            labels=_labels(labels),
            image_size=image_size,
            embedding_layer=embedding_layer,
            opset=opset or OPSET,
            thresholds=_thresholds(thresholds),
            weights_licence=weights_licence,
            max_batch_size=max_batch_size,
            on_progress=on_progress,
        )
    if as_json:
        print_json({"models": cards})
        return
    for card in cards:
        print("\n".join(_told(card)))


def _labels(file: Path | None) -> tuple[str, ...] | None:
    return None if file is None else tuple(_read(file).splitlines())


def _thresholds(file: Path | None) -> "tuple[Threshold, ...]":
    from pydantic import TypeAdapter, ValidationError

    from kokeshi.card import Threshold

    if file is None:
        return ()
    try:
        return TypeAdapter(tuple[Threshold, ...]).validate_json(_read(file))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        reason = error.errors()[0]["msg"]
        raise SetupError(f"{str(file)!r} is no list of thresholds: {where} {reason}") from None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{str(file)!r} cannot be read: {error}") from None


@contextmanager
def _stages() -> Iterator[Callable[[str, float], None]]:
    """Shows the stages: as bars on a terminal, else as one line for each."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    seen: dict[str, TaskID] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:

        def on_progress(stage: str, fraction: float) -> None:
            if stage not in seen:
                for task in seen.values():
                    bars.update(task, completed=1.0)
                seen[stage] = bars.add_task(stage, total=1.0)
                if not console.is_terminal:
                    note(stage)
            bars.update(seen[stage], completed=fraction)

        yield on_progress


def _told(card: "Card") -> Sequence[str]:
    from kokeshi.export.verify import in_words

    parity = card.parity
    sizes = ", ".join(map(str, parity.batch_sizes))
    against = f"{parity.reference}, {parity.images} images and {parity.noise} of noise"
    return [
        f"wrote model {card.name} version {card.version}: {', '.join(card.tasks) or card.role}",
        f"  agrees with {against}, at batch sizes {sizes}",
        *(f"  {in_words(one)}" for one in parity.agreements),
    ]

"""Tunes one model on this machine: builds the candidates, measures them, chooses, writes."""

from pathlib import Path
from tempfile import TemporaryDirectory

from kokeshi.card import Card
from kokeshi.contract import ImageInput
from kokeshi.engines.config import GRAPH_FILE
from kokeshi.engines.repository import Entry, Unreadable, graph_digest, scan_model
from kokeshi.engines.runtimes.machine import Machine
from kokeshi.engines.runtimes.plan import PLAN_FILE, write_plan
from kokeshi.errors import ArtefactError, ModelNotFoundError, SetupError
from kokeshi.tune import planning
from kokeshi.tune.bench import Bench, Options, Progress
from kokeshi.tune.writing import apply


def tune(
    repository: Path,
    model: str,
    options: Options,
    machine: Machine,
    *,
    write: bool,
    plan: bool = False,
    on_progress: Progress = lambda stage, fraction: None,
) -> Card:
    """Measures the ways to run a model's newest version, and chooses.

    Args:
        repository: of models.
        model: name.
        options: how.
        machine: this one.
        write: make the version run what was chosen.
        plan: with `write`, also lay an engine of `planning.planned` beside the graph, for Triton's
            TensorRT backend. Nothing names it.
        on_progress: gets each stage and the fraction of it that is done.

    Returns:
        The card with what was measured; as written, where it was.

    Raises:
        ModelNotFoundError: there is no such model.
        SetupError: there are no pictures, or the model is none that can be tuned, or no plan can
            be built.
    """
    entry, card = _find(repository, model)
    if plan:
        planning.check(machine)
    with TemporaryDirectory(prefix="kokeshi-tune-") as folder:
        bench = Bench(entry, card.image, card.outputs, options, machine, Path(folder), on_progress)
        tuning, way = bench.run()
        candidate = planning.planned(tuning) if plan else None
        if not write:
            return card.model_copy(update={"tuning": tuning})
        graph = bench.made(way)
        made = {} if graph is None else {graph.name: graph}
        if candidate is not None:
            made[PLAN_FILE] = target = Path(folder, PLAN_FILE)
            on_progress("plan", 0.0)
            write_plan(bench.graph_of(candidate), entry.config, target, candidate.precision)
            on_progress("plan", 1.0)
        config = way.configured(entry.config, tuning.choice.file)
        return apply(entry.folder, card, tuning, config, made)


def _find(repository: Path, model: str) -> tuple[Entry, Card]:
    """The version that the model's policy serves, with the graph that was verified."""
    folder = repository / Path(model).name
    if not model or not folder.is_dir():
        raise ModelNotFoundError(f"the repository has no model {model!r}")
    found = list(scan_model(folder))
    entries = [one for one in found if isinstance(one, Entry)]
    if len(entries) != 1:
        raise ArtefactError(f"model {model!r} cannot be tuned: {_why(found)}")
    entry, card = entries[0], entries[0].card()
    if not isinstance(card.input, ImageInput):
        raise SetupError(f"model {model!r} takes {card.input.kind}; models of images are tuned")
    graph = entry.folder / str(entry.version) / GRAPH_FILE
    if not graph.is_file() or graph_digest(graph) != card.model_sha256:
        raise ArtefactError(f"{GRAPH_FILE} of model {model!r} is not the graph of its card")
    return entry, card


def _why(found: list[Entry | Unreadable]) -> str:
    for one in found:
        if isinstance(one, Unreadable):
            return one.reason
    versions = ", ".join(str(one.version) for one in found if isinstance(one, Entry)) or "none"
    return (
        f"it serves versions {versions}, and its configuration names one file for all of them; "
        "let its version policy serve one"
    )

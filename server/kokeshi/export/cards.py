"""The cards of one export."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from kokeshi.card import UNTRAINED, Card, CheckpointCard, PaperCard, Parity, Threshold, space_of
from kokeshi.contract import Meaning
from kokeshi.export.weights import Weights
from kokeshi.plugin import Checkpoint, Method, Paper, Part, Recipe

MAIN: Final = "main"
_VERSIONS: Final = ("kokeshi", "torch", "onnx", "onnxscript", "onnxslim", "onnxruntime")


@dataclass(frozen=True)
class Verified:
    """A part whose graph agreed with PyTorch."""

    part: Part
    graph: Path
    digest: str  # sha256 of the graph
    parity: Parity


def make_cards(
    model_name: str,
    method: Method,
    recipe: Recipe,
    verified: list[Verified],
    *,
    paper: Paper,
    origin: CheckpointCard,
    labels: tuple[str, ...],
    thresholds: tuple[Threshold, ...],
    distribution: str,
) -> list[Card]:
    """One card per graph, of version 1 until it is published. All parts share one space.

    Args:
        model_name: of the part whose role is "main"; the others are `<model_name>.<role>`.
        method: what was exported.
        recipe: what the method built.
        verified: the parts.
        paper: to cite: the checkpoint's, else the method's.
        origin: where the weights came from.
        labels: class names.
        thresholds: calibrated decisions.
        distribution: that brought the method.
    """
    names = {item.part.role: _part_name(model_name, item.part.role) for item in verified}
    graphs = [(item.digest, item.part.input) for item in verified]
    space = space_of(graphs, _space_output(verified))
    return [
        Card(
            name=names[item.part.role],
            version=1,
            method=method.name,
            paper=PaperCard(
                title=paper.title, authors=paper.authors, year=paper.year, url=paper.url
            ),
            checkpoint=origin,
            model_sha256=item.digest,
            space=space,
            role=item.part.role,
            parts=names if len(names) > 1 else {},
            input=item.part.input,
            outputs=item.part.outputs,
            labels=labels,
            thresholds=thresholds,
            logit_scale=_logit_scale(recipe),
            parity=item.parity,
            exported_by=_versions(distribution),
        )
        for item in verified
    ]


def _part_name(model_name: str, role: str) -> str:
    return model_name if role == MAIN else f"{model_name}.{role}"


def _space_output(verified: list[Verified]) -> str:
    outputs = [output for item in verified for output in item.part.outputs]
    names = [output.name for output in outputs if output.meaning is Meaning.EMBEDDING]
    return names[0] if names else Meaning.EMBEDDING


def origin_of(
    method: Method,
    checkpoint: Checkpoint | None,
    weights: Weights | None,
    licence: str | None,
) -> CheckpointCard:
    """Where weights came from; None is untrained ones, which are made by the method's own code.

    Args:
        method: what was exported.
        checkpoint: the named weights, if the user named them.
        weights: what was loaded.
        licence: what the user says of them; None: what the checkpoint says.
    """
    if weights is None:
        return CheckpointCard(source=UNTRAINED, sha256="", licence=method.licence)
    stated = licence or (checkpoint.licence if checkpoint else "not stated")
    return CheckpointCard(source=weights.source, sha256=weights.sha256, licence=stated)


def _logit_scale(recipe: Recipe) -> float | None:
    if recipe.logit_scale_key is None:
        return recipe.logit_scale
    return float(recipe.network.state_dict()[recipe.logit_scale_key].exp())


def _versions(distribution: str) -> dict[str, str]:
    """Versions of what made the graph, the plugin's distribution among them."""
    versions = {name: _version(name) for name in (*_VERSIONS, distribution)}
    return {name: found for name, found in versions.items() if found}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:  # a registry made by hand has no distributions
        return None

"""The export: weights in, verified model folders out."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from kokeshi.card import Card, Threshold
from kokeshi.contract import TextInput
from kokeshi.engines.config import CONFIG_FILE, GRAPH_FILE, LABELS_FILE
from kokeshi.engines.repository import graph_digest
from kokeshi.errors import ArtefactError, KokeshiError, PluginError, SetupError, WeightsError
from kokeshi.export.artefact import MODEL_NAME, Draft, publish, staging
from kokeshi.export.cards import Verified, make_cards, origin_of
from kokeshi.export.weights import PRETRAINED, Weights, converted, fit, load
from kokeshi.plugin import Checkpoint, Method, Options, Part, Recipe
from kokeshi.registry import Registry, discover

OPSET: Final = 20  # the first with GELU; ONNX Runtime has it since 1.17
MAX_FILE_BYTES: Final = 2**31 - 2**24  # protobuf's end of a file, less what is not weights
_NEEDED: Final = ("torch", "onnx", "onnxscript", "onnxslim", "onnxruntime", "skimage", "sklearn")
_SEED: Final = 0  # of untrained weights
_GRAPHS: Final = "graphs"  # inside the staging folder, one folder for each role

_NOT_GIVEN: Final = Weights(source="none: there are no parameters", sha256="", state={})

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class _Plan:
    """What is exported: resolved once, read by every step."""

    method: Method
    variant: str
    checkpoint: Checkpoint | None
    distribution: str
    model_name: str
    labels: tuple[str, ...] | None
    thresholds: tuple[Threshold, ...]
    weights_licence: str | None
    opset: int
    max_file_bytes: int
    max_batch_size: int | None
    progress: Progress


def export(
    name: str,
    *,
    repository: Path,
    model_name: str | None = None,
    weights: Path | str | None = None,
    untrained: bool = False,
    weights_licence: str | None = None,
    labels: tuple[str, ...] | None = None,
    image_size: int | None = None,
    embedding_layer: str | None = None,
    opset: int = OPSET,
    max_file_bytes: int = MAX_FILE_BYTES,
    thresholds: tuple[Threshold, ...] = (),
    max_batch_size: int | None = None,
    on_progress: Progress = lambda stage, fraction: None,
    registry: Registry | None = None,
) -> list[Card]:
    """Exports a method's graphs, verifies them, and publishes them as a new version.

    Nothing becomes visible in the repository before every graph agrees with PyTorch.

    Args:
        name: a checkpoint, a method's variant, or `prefix/name`.
        repository: Triton model repository; made where there is none.
        model_name: folder to write; None makes it of `name`. A part with another role than "main"
            is the model `<model_name>.<role>`.
        weights: a file, its https address, a hub id `organisation/name[:file]`, or "pretrained".
        untrained: seeded random weights instead, for tests.
        weights_licence: for the card; None: the checkpoint's where `name` is one.
        labels: class names in the order of the classifier; None: those that come with the weights.
        image_size: pixels; None: the input contract's own.
        embedding_layer: dotted name of the module to take the embedding from.
        opset: ONNX operator set.
        max_file_bytes: of weights in a graph's own file; more go into one beside it.
        thresholds: calibrated decisions for the card.
        max_batch_size: rows that one run takes; None keeps an existing configuration's.
        on_progress: gets the stage and the fraction of it that is done.
        registry: where to look `name` up; None: every installed plugin.

    Returns:
        The cards of the new version, one per graph.

    Raises:
        PluginError: no such name, or its plugin fails to build or to become a graph.
        WeightsError: no weights, or they do not fit.
        VerificationError: a graph disagrees with PyTorch or with its contract.
        ArtefactError: the names or files cannot make a model folder.
        SetupError: the export extra is not installed.
    """
    _check_extra()
    registry = registry or discover()
    method, variant, checkpoint = registry.resolve(name)
    plan = _Plan(
        method=method,
        variant=variant,
        checkpoint=checkpoint,
        distribution=registry.distributions[method.name],
        model_name=_model_name(name, model_name),
        labels=_checked_labels(labels),
        thresholds=thresholds,
        weights_licence=weights_licence,
        opset=opset,
        max_file_bytes=max_file_bytes,
        max_batch_size=max_batch_size,
        progress=on_progress,
    )
    on_progress("weights", 0.0)
    found = _weights(name, plan, weights, untrained=untrained)
    on_progress("build", 0.0)
    options = Options(
        variant=variant,
        classes=len(plan.labels) if plan.labels else None,
        image_size=image_size,
        embedding_layer=embedding_layer,
        settings=checkpoint.settings if checkpoint else {},
    )
    recipe = _built(name, plan, options, found)
    with staging(repository) as folder:
        verified = [_verified(plan, recipe, part, folder) for part in recipe.parts]
        return _published(plan, recipe, found, verified, repository, folder)


def _check_extra() -> None:
    if missing := [module for module in _NEEDED if find_spec(module) is None]:
        raise SetupError(f"exporting needs {', '.join(missing)}: pip install 'kokeshi[export,cpu]'")


def _model_name(name: str, wished: str | None) -> str:
    made = re.sub(r"[^a-z0-9_]+", "_", name.rpartition("/")[2].lower())
    chosen = made if wished is None else wished
    if not MODEL_NAME.fullmatch(chosen):
        raise ArtefactError(
            f"a model is named with lower-case letters, digits, '_' and '-', not {chosen!r}"
        )
    return chosen


def _checked_labels(labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
    for label in labels or ():
        if not label.strip() or "\n" in label:
            raise ArtefactError(f"a label is one line of text, not {label!r}")
    return labels


def _weights(
    name: str, plan: _Plan, weights: Path | str | None, *, untrained: bool
) -> Weights | None:
    """The weights, converted to the network's names; None for untrained ones."""
    if untrained and weights is not None:
        raise WeightsError("weights were given and untrained ones asked for: choose one")
    if untrained:
        return None
    if weights is None:
        return _NOT_GIVEN
    found = load(weights, _published_at(name, plan))
    own = plan.checkpoint.convert if plan.checkpoint else dict
    state = converted(found, plan.method.convert if own is dict else own)
    return replace(found, state=state)


def _published_at(name: str, plan: _Plan) -> str:
    if plan.checkpoint:
        return plan.checkpoint.source
    return name if plan.method.prefix else "the authors"


def _check_given(name: str, plan: _Plan, recipe: Recipe, weights: Weights | None) -> None:
    """Only a network without parameters needs no weights."""
    if weights is _NOT_GIVEN and recipe.network.state_dict():
        raise WeightsError(
            f"{name!r} needs weights: a file, a hub id or {PRETRAINED!r} "
            f"(published: {_published_at(name, plan)}); or ask for untrained ones, for tests"
        )


def _built(name: str, plan: _Plan, options: Options, weights: Weights | None) -> Recipe:
    """The method's network with its weights, in evaluation mode."""
    import torch

    state = weights.state if weights else {}
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        try:
            recipe = plan.method.build(replace(options, shapes=shapes))
        except KokeshiError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise PluginError(f"method {plan.method.name!r} cannot be built: {reason}") from error
    _check_given(name, plan, recipe, weights)
    if weights:
        fit(recipe.network, weights.state, weights.source)
    _check_roles(recipe)
    return recipe


def _check_roles(recipe: Recipe) -> None:
    roles = [part.role for part in recipe.parts]
    if not roles or len(set(roles)) < len(roles) or not all(map(MODEL_NAME.fullmatch, roles)):
        raise PluginError(f"the parts of a method have roles of their own, not {roles}")
    for part in recipe.parts:
        for name in part.files:
            if Path(name).name != name or name in {CONFIG_FILE, LABELS_FILE} or name.isdecimal():
                raise PluginError(f"a part cannot bring a file named {name!r}")


def _verified(plan: _Plan, recipe: Recipe, part: Part, folder: Path) -> Verified:
    """Writes a part's graph into the staging folder and compares it with PyTorch."""
    import torch

    from kokeshi.export.graph import Graph, write_onnx
    from kokeshi.export.promises import check_contract
    from kokeshi.export.samples import noise
    from kokeshi.export.verify import verify

    part = _with_tokenizer_digest(part)
    labels = _labels(plan, recipe)
    check_contract(part.outputs, labels)
    graph = Graph(part).eval().requires_grad_(requires_grad=False)
    path = folder / _GRAPHS / part.role / GRAPH_FILE
    path.parent.mkdir(parents=True)
    plan.progress(f"graph {part.role}", 0.0)
    example = torch.from_numpy(noise(part.input, part.files, 2))
    write_onnx(graph, part, example, path, plan.opset, plan.max_file_bytes)
    parity = verify(
        graph, part, path, labels, lambda done: plan.progress(f"verify {part.role}", done)
    )
    return Verified(part, path, graph_digest(path), parity)


def _with_tokenizer_digest(part: Part) -> Part:
    if not isinstance(part.input, TextInput) or part.input.tokenizer not in part.files:
        return part
    digest = sha256(part.files[part.input.tokenizer]).hexdigest()
    return replace(part, input=part.input.model_copy(update={"tokenizer_sha256": digest}))


def _labels(plan: _Plan, recipe: Recipe) -> tuple[str, ...]:
    return recipe.labels if plan.labels is None else plan.labels


def _published(
    plan: _Plan,
    recipe: Recipe,
    weights: Weights | None,
    verified: list[Verified],
    repository: Path,
    folder: Path,
) -> list[Card]:
    plan.progress("publish", 0.0)
    origin = origin_of(plan.method, plan.checkpoint, weights, plan.weights_licence)
    cards = make_cards(
        plan.model_name,
        plan.method,
        recipe,
        verified,
        paper=plan.checkpoint.paper if plan.checkpoint else plan.method.paper,
        origin=origin,
        labels=_labels(plan, recipe),
        thresholds=plan.thresholds,
        distribution=plan.distribution,
    )
    drafts = [
        Draft(card, item.graph, item.part.files, plan.max_batch_size)
        for card, item in zip(cards, verified, strict=True)
    ]
    published = publish(repository, folder, drafts)
    plan.progress("publish", 1.0)
    return published

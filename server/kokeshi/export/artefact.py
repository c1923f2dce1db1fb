"""Publishes model folders whole or not at all. Knows files; does not know torch.

Everything is written and flushed in a staging folder on the repository's file system, marked
complete, and only then moved into the repository by renames. What a kill leaves behind is settled
by the next export, or by `settle`: a complete staging folder is carried through, any other dropped.

A model's first version arrives as one folder, by one rename. A later version arrives in the order
version folder, then files beside config.pbtxt, then config.pbtxt: the configuration never points to
a graph that is not there. Between those renames a reader sees the new version under the old
configuration, so each version folder holds the card of its own graph (`<version>/card.json`): that
one is right at every moment, and for every old version too. The card inside config.pbtxt is a copy
of the newest version's, for gateways that see Triton but not its disk; where the version it names
is not the version that Triton serves, it does not speak of that graph.

Staging folders lie beside the repository where they can: Triton takes any folder inside it,
hidden or not, for a model.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from kokeshi.card import Card
from kokeshi.engines.config import (
    CARD_FILE,
    CONFIG_FILE,
    GRAPH_FILE,
    LABELS_FILE,
    MAX_BATCH_SIZE,
    card_from,
    config_for,
    from_pbtxt,
    to_pbtxt,
    updated_pbtxt,
)
from kokeshi.engines.repository import DATA_FILE
from kokeshi.engines.runtimes.tuned import untuned_pbtxt
from kokeshi.errors import ArtefactError

MODEL_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")
_MODELS: Final = "models"  # inside a staging folder: what will lie in the repository
_COMPLETE: Final = "complete"  # the mark


@dataclass(frozen=True)
class Draft:
    """A verified graph on its way into the repository. The card's version is given on the way."""

    card: Card
    graph: Path  # moved into the model folder, as is a DATA_FILE beside it
    files: Mapping[str, bytes] = field(default_factory=dict)  # beside config.pbtxt
    max_batch_size: int | None = None  # None: the existing configuration's, or the house's


@contextmanager
def staging(repository: Path) -> Iterator[Path]:
    """A folder of this process's own, gone afterwards unless it is marked complete.

    Its lock tells `settle` of other processes that its owner lives.
    """
    repository.mkdir(parents=True, exist_ok=True)
    home = repository if _is_mount_or_closed(repository) else repository.resolve().parent
    with ExitStack() as stack:
        with _locked(repository):  # `settle` meets no folder whose owner has not locked it yet
            folder = Path(mkdtemp(prefix=_prefix(repository), dir=home))
            stack.enter_context(_locked(folder))
        try:
            yield folder
        finally:
            if not (folder / _COMPLETE).exists():
                shutil.rmtree(folder, ignore_errors=True)


def publish(repository: Path, folder: Path, drafts: Sequence[Draft]) -> list[Card]:
    """Makes the graphs of one export visible together, under one new version.

    Args:
        repository: model repository.
        folder: from `staging`.
        drafts: the parts of a method.

    Returns:
        Their cards, with the version.

    Raises:
        ArtefactError: a model folder of that name is not Kokeshi's.
    """
    with _locked(repository):
        _settle(repository)
        version = 1 + max((_newest(repository / draft.card.name) for draft in drafts), default=0)
        cards = [draft.card.model_copy(update={"version": version}) for draft in drafts]
        for draft, card in zip(drafts, cards, strict=True):
            _stage(repository, folder / _MODELS / card.name, draft, card)
        _mark_complete(folder)
        _carry_through(repository, folder)
    return cards


def settle(repository: Path) -> None:
    """Finishes or drops what killed exports left behind; leaves running ones alone."""
    if repository.is_dir():
        with _locked(repository):
            _settle(repository)


def _settle(repository: Path) -> None:
    for home in {repository.resolve(), repository.resolve().parent}:
        for folder in home.glob(f"{_prefix(repository)}*"):
            with ExitStack() as stack:
                try:
                    stack.enter_context(_locked(folder, wait=False))
                except (BlockingIOError, FileNotFoundError):
                    continue  # its owner lives, or has just removed it
                if (folder / _COMPLETE).exists():
                    _carry_through(repository, folder)
                elif folder.exists():
                    shutil.rmtree(folder)


def _stage(repository: Path, folder: Path, draft: Draft, card: Card) -> None:
    """Writes what will be added to one model's folder."""
    version = folder / str(card.version)
    version.mkdir(parents=True)
    draft.graph.rename(version / GRAPH_FILE)
    data = draft.graph.with_name(DATA_FILE)
    if data.exists():
        data.rename(version / DATA_FILE)
    (version / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", "utf-8")
    for name, content in draft.files.items():
        (folder / name).write_bytes(content)
    if card.labels:
        (folder / LABELS_FILE).write_text("\n".join(card.labels) + "\n", "utf-8")
    existing = repository / card.name / CONFIG_FILE
    text = _configuration(existing, card, draft.max_batch_size)
    (folder / CONFIG_FILE).write_text(text, "utf-8")


def _configuration(existing: Path, card: Card, max_batch_size: int | None) -> str:
    """config.pbtxt for a card; an existing one keeps its tuning."""
    if not existing.exists():
        house = MAX_BATCH_SIZE if max_batch_size is None else max_batch_size
        return to_pbtxt(config_for(card, house))
    text = untuned_pbtxt(existing.read_text("utf-8"))  # what was measured was another graph
    kept = from_pbtxt(text).max_batch_size if max_batch_size is None else max_batch_size
    return updated_pbtxt(text, config_for(card, kept))


def _newest(model: Path) -> int:
    """The newest version in a model folder, 0 where there is no folder.

    Raises:
        ArtefactError: the folder is somebody else's.
    """
    if not model.exists():
        return 0
    try:
        card_from(from_pbtxt((model / CONFIG_FILE).read_text("utf-8")))
    except (OSError, UnicodeDecodeError, ArtefactError) as error:
        raise ArtefactError(
            f"the repository has a model {model.name!r} that kokeshi cannot read: {error}"
        ) from error
    return max((int(entry.name) for entry in model.iterdir() if entry.name.isdecimal()), default=0)


def _carry_through(repository: Path, folder: Path) -> None:
    """Moves a complete staging folder's models into the repository; repeatable after a kill."""
    models = folder / _MODELS
    for model in sorted(models.iterdir()):
        target = repository / model.name
        if target.exists():
            for entry in sorted(model.iterdir(), key=_order_of_arrival):
                entry.replace(target / entry.name)
                _flush(target)
        else:
            model.rename(target)
    _flush(repository)
    shutil.rmtree(folder)


def _order_of_arrival(entry: Path) -> tuple[bool, bool]:
    return (not entry.is_dir(), entry.name == CONFIG_FILE)


def _mark_complete(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            _flush(Path(parent, name))
        _flush(Path(parent))
    (folder / _COMPLETE).touch()
    _flush(folder)
    _flush(folder.parent)


def _flush(path: Path) -> None:
    """Waits until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds a folder's lock, which the kernel releases when its holder dies.

    Raises:
        BlockingIOError: not waiting, and another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


def _prefix(repository: Path) -> str:
    return f".{repository.resolve().name}-export-"


def _is_mount_or_closed(repository: Path) -> bool:
    """Whether renames from the parent folder are impossible."""
    parent = repository.resolve().parent
    same_device = repository.stat().st_dev == parent.stat().st_dev
    return not (same_device and os.access(parent, os.W_OK))

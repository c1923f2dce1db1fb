"""Writes a choice into a model folder: all of it or nothing, whatever happens in between.

The graph arrives first, under a name made of its content, so it replaces no file, and a plan, which
nothing here names. Then the card, which knows the old graph and the new one, and last config.pbtxt,
which names the one to run. A server that reads between any two of these finds a graph that its card
describes.
"""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from kokeshi.card import PARAMETER, Card, Tuning
from kokeshi.engines.config import (
    CARD_FILE,
    CONFIG_FILE,
    GRAPH_FILE,
    ModelConfig,
    message_of,
    parse_message,
    text_of,
)

# What a choice decides of a configuration; the rest stays as the operator wrote it.
_CHOSEN: Final = ("default_model_filename", "instance_group")


def apply(
    folder: Path, card: Card, tuning: Tuning, config: ModelConfig, made: Mapping[str, Path]
) -> Card:
    """Makes a version run what was chosen.

    Args:
        folder: of the model.
        card: of the version.
        tuning: what was measured and chosen; `files` names the graph that was made.
        config: what runs the choice.
        made: files that were made, by their name in the version's folder, where they are moved:
            the graph, if the choice is one, and a plan.

    Returns:
        The card as written.
    """
    version = folder / str(card.version)
    with _locked(folder.parent):
        earlier = card.tuning.files if card.tuning else {}
        for name, file in made.items():
            _move(file, version / name)
        both = tuning.model_copy(update={"files": {**earlier, **tuning.files}})
        written = card.model_copy(update={"tuning": both})
        _replace(version / CARD_FILE, written.model_dump_json(indent=2) + "\n")
        path = folder / CONFIG_FILE
        _replace(path, updated(path.read_text("utf-8"), config, written))
        for name in earlier.keys() - tuning.files.keys():
            (version / name).unlink(missing_ok=True)
    return written


def updated(text: str, config: ModelConfig, card: Card) -> str:
    """A config.pbtxt with the choice and its card in it, and all else kept."""
    message, chosen = parse_message(text), message_of(config)
    for name in _CHOSEN:
        message.ClearField(name)
    if config.default_model_filename != GRAPH_FILE:  # which is the default
        message.default_model_filename = config.default_model_filename
    message.instance_group.MergeFrom(chosen.instance_group)
    accelerators = message.optimization.execution_accelerators
    accelerators.CopyFrom(chosen.optimization.execution_accelerators)
    if not chosen.optimization.HasField("execution_accelerators"):
        message.optimization.ClearField("execution_accelerators")
    if not message.optimization.ListFields():
        message.ClearField("optimization")
    message.parameters.clear()
    for name, value in config.parameters.items():
        message.parameters[name].string_value = value
    message.parameters[PARAMETER].string_value = card.model_dump_json()
    return text_of(message)


def _move(made: Path, target: Path) -> None:
    partial = target.with_name(f".{target.name}.partial")
    partial.write_bytes(made.read_bytes())
    _settle(partial, target)


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, "utf-8")
    _settle(partial, path)


def _settle(partial: Path, target: Path) -> None:
    """Renames a file, once it is on the disk."""
    try:
        _flush(partial)
        partial.replace(target)
        _flush(target.parent)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _locked(repository: Path) -> Iterator[None]:
    """Holds the lock that an export holds while it publishes."""
    descriptor = os.open(repository, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

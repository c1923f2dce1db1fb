"""The catalogue: the published methods that Kokeshi knows of, each with its honest state."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from kokeshi.plugin import Checkpoint, Diagnostic, Method, Plugin, Retriever

SERVED: Final = "served"
CHECKPOINT_REQUIRED: Final = "checkpoint required"
TRANSFORM: Final = "transform"
NOT_SERVABLE: Final = "not servable"
PLANNED: Final = "planned"

_HUB_ID: Final = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(:(?P<file>[\w./-]+))?")
_HUB_FILE: Final = "model.safetensors"  # the name that the hub's own libraries write
_URL: Final = re.compile(r"https://\S+\.(safetensors|pth|pt|tar|bin|ckpt)")


@dataclass(frozen=True)
class Entry:
    """One published method. `state` is one of this module's constants."""

    number: int
    title: str
    short: str
    kind: str
    tasks: tuple[str, ...]
    state: str
    reason: str = ""  # why it is not servable
    names: tuple[str, ...] = ()  # what `kokeshi export` takes for it
    runs: tuple[str, ...] = ()  # retrievers and diagnostics of collections


def entries(plugins: Iterable[Plugin]) -> list[Entry]:
    """The rows of the catalogue with the state that these plugins give each."""
    by_row: dict[int, list[Plugin]] = {}
    for plugin in plugins:
        for number in plugin.rows:
            by_row.setdefault(number, []).append(plugin)
    return [_entry(row, by_row.get(row["n"], [])) for row in _rows()]


def hub_id(source: str) -> tuple[str, str] | None:
    """Repository and file of a hub id `organisation/name[:file]`; None for anything else."""
    match = _HUB_ID.fullmatch(source)
    return (match["repository"], match["file"] or _HUB_FILE) if match else None


def is_file_url(source: str) -> bool:
    """Whether a source is the https address of a weights file, not of a page about it."""
    return _URL.fullmatch(source) is not None


def _rows() -> list[dict[str, Any]]:
    text = resources.files("kokeshi").joinpath("data/catalogue.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _entry(row: Mapping[str, Any], plugins: list[Plugin]) -> Entry:
    state = _state(row["kind"], plugins)
    return Entry(
        number=row["n"],
        title=row["title"],
        short=row["short"],
        kind=row["kind"],
        tasks=tuple(row["task"]),
        state=state,
        reason=row["why"] if state == NOT_SERVABLE else "",
        names=tuple(sorted(name for plugin in plugins for name in _names(plugin))),
        runs=tuple(sorted(plugin.name for plugin in plugins if _runs_on_collections(plugin))),
    )


def _state(kind: str, plugins: list[Plugin]) -> str:
    if not plugins:
        return NOT_SERVABLE if kind == "excluded" else PLANNED
    if kind == "transform":
        return TRANSFORM
    networks = [plugin for plugin in plugins if not _runs_on_collections(plugin)]
    is_served = not networks or any(_brings_weights(plugin) for plugin in networks)
    return SERVED if is_served else CHECKPOINT_REQUIRED


def _runs_on_collections(plugin: Plugin) -> bool:
    """Whether it needs no weights, but a collection."""
    return isinstance(plugin, Retriever | Diagnostic)


def _brings_weights(plugin: Plugin) -> bool:
    """Whether `--weights pretrained` fetches them; a prefix opens names of a hub."""
    if isinstance(plugin, Method):
        return plugin.prefix is not None
    if not isinstance(plugin, Checkpoint):
        return False
    return hub_id(plugin.source) is not None or is_file_url(plugin.source)


def _names(plugin: Plugin) -> tuple[str, ...]:
    if not isinstance(plugin, Method):
        return (plugin.name,) if isinstance(plugin, Checkpoint) else ()
    return (*plugin.variants, *([f"{plugin.prefix}/"] if plugin.prefix else []))

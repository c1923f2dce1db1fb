"""Reads a model repository by Triton's rules: which models, which versions, which files.

Triton's documentation: docs/user_guide/model_repository.md and model_configuration.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from kokeshi.card import Card
from kokeshi.engines.config import (
    CARD_FILE,
    CONFIG_FILE,
    GRAPH_FILE,
    ModelConfig,
    card_from,
    from_pbtxt,
    read_card,
)
from kokeshi.errors import ArtefactError


@dataclass(frozen=True)
class Entry:
    """One version of one model on disk."""

    name: str
    version: int
    folder: Path  # <repository>/<name>
    config: ModelConfig

    @property
    def graph(self) -> Path:
        """The graph of this version."""
        return self.folder / str(self.version) / (self.config.default_model_filename or GRAPH_FILE)

    def card(self) -> Card:
        """The card of this version.

        Raises:
            ArtefactError: there is none, or it is of another version.
        """
        beside = self.folder / str(self.version) / CARD_FILE
        if beside.exists():
            card = read_card(self.name, beside.read_bytes())
        else:
            card = card_from(self.config)
        if card.version != self.version:
            raise ArtefactError(f"the card is of version {card.version}, not {self.version}")
        return card

    def check_graph(self, card: Card) -> None:
        """Compares the graph's bytes with the card.

        Raises:
            ArtefactError: it is missing, or is not the graph that was verified.
        """
        if not self.graph.is_file():
            raise ArtefactError(f"version {self.version} has no {self.graph.name}")
        with self.graph.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        if digest != card.model_sha256:
            raise ArtefactError(f"{self.graph.name} is not the graph that the card describes")


@dataclass(frozen=True)
class Unreadable:
    """A model folder whose configuration cannot be read."""

    name: str
    reason: str


def scan(repository: Path) -> Iterator[Entry | Unreadable]:
    """Every version that the policies of a repository's models name, by name and version.

    Folders whose name begins with a dot are not models (an export in the making is one).

    Raises:
        ArtefactError: the repository itself is not a folder.
    """
    if not repository.is_dir():
        raise ArtefactError(f"model repository {str(repository)!r} is not a folder")
    for folder in sorted(repository.iterdir()):
        if folder.is_dir() and not folder.name.startswith("."):
            yield from _scan_model(folder)


def _scan_model(folder: Path) -> Iterator[Entry | Unreadable]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        yield Unreadable(folder.name, "there is no config.pbtxt")
        return
    try:
        config = from_pbtxt(path.read_text(encoding="utf-8"))
    except (ArtefactError, UnicodeDecodeError) as error:
        yield Unreadable(folder.name, f"config.pbtxt cannot be read: {error}")
        return
    if config.name and config.name != folder.name:
        yield Unreadable(folder.name, f"config.pbtxt is of a model named {config.name!r}")
        return
    versions = config.version_policy.select(_versions(folder))
    if not versions:
        yield Unreadable(folder.name, "no version folder that the version policy serves")
    for version in versions:
        yield Entry(folder.name, version, folder, config)


def _versions(folder: Path) -> list[int]:
    """Triton takes numeric folder names that do not begin with 0; others are ignored."""
    names = (child.name for child in folder.iterdir() if child.is_dir())
    return [int(name) for name in names if name.isdecimal() and not name.startswith("0")]

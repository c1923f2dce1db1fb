"""Reads a model repository by Triton's rules: which models, which versions, which files.

Triton's documentation: docs/user_guide/model_repository.md and model_configuration.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Final

from kokeshi.card import Card
from kokeshi.contract import TextInput
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

# The weights, beside a graph that would be too large with them; the graph calls it by this name.
DATA_FILE: Final = f"{GRAPH_FILE}.data"


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
        if graph_digest(self.graph) != card.model_sha256:
            data = self.graph.with_name(DATA_FILE)
            whole = self.graph.name + (f" with {DATA_FILE}" if data.exists() else "")
            raise ArtefactError(f"{whole} is not the graph that the card describes")

    def check_tokenizer(self, card: Card) -> None:
        """Compares the tokeniser's file, of a graph that takes texts, with the card.

        Raises:
            ArtefactError: it is missing, or another.
        """
        if not isinstance(card.input, TextInput):
            return
        file = self.folder / Path(card.input.tokenizer).name
        if not file.is_file():
            raise ArtefactError(f"there is no {file.name}, its tokeniser")
        if card.input.tokenizer_sha256 not in {"", _sha256(file)}:
            raise ArtefactError(f"{file.name} is not the tokeniser that the card describes")


def graph_digest(graph: Path) -> str:
    """The sha256 that a card gives of a graph.

    Of its file; where its weights lie in a file of their own, of what `sha256sum model.onnx
    model.onnx.data` prints of both.
    """
    data = graph.with_name(DATA_FILE)
    if not data.exists():
        return _sha256(graph)
    both = f"{_sha256(graph)}  {GRAPH_FILE}\n{_sha256(data)}  {DATA_FILE}\n"
    return sha256(both.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


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
    except (ArtefactError, UnicodeDecodeError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error  # the rest is the path
        yield Unreadable(folder.name, f"config.pbtxt cannot be read: {reason}")
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

"""Reads a model repository by Triton's rules: which models, which versions, which files.

Triton's documentation: docs/user_guide/model_repository.md and model_configuration.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path, PurePosixPath
from typing import Final

from kokeshi.card import PARAMETER, Card
from kokeshi.contract import TextInput
from kokeshi.engines.config import (
    CARD_FILE,
    CONFIG_FILE,
    GRAPH_FILE,
    ModelConfig,
    card_from,
    check_card,
    from_pbtxt,
    read_card,
)
from kokeshi.engines.folders import Signature, inside, signature
from kokeshi.engines.overrides import Override
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
    text: str  # of config.pbtxt; empty where there is none
    stamp: Signature  # of its files
    override: Override | None = None  # what the folder belongs to, if not to the repository

    def same(self, other: "Entry") -> bool:
        """Whether nothing of it has changed since the other was read."""
        return (self.text, self.stamp) == (other.text, other.stamp)

    @property
    def graph(self) -> Path:
        """The graph of this version.

        Raises:
            ArtefactError: the configuration names a file outside the version's folder.
        """
        name = self.config.default_model_filename or GRAPH_FILE
        return inside(self.folder / str(self.version), name)

    @property
    def has_card(self) -> bool:
        """Whether there is a card; without one, the model answers tensors alone."""
        beside = self.folder / str(self.version) / CARD_FILE
        return beside.exists() or PARAMETER in self.config.parameters

    def card(self) -> Card:
        """The card of this version.

        Raises:
            ArtefactError: there is none, or it is of another version.
        """
        beside = self.folder / str(self.version) / CARD_FILE
        if beside.exists():
            card = read_card(self.name, beside.read_bytes())
            check_card(self.config, card)
        else:
            card = card_from(self.config)
        if card.version != self.version:
            raise ArtefactError(f"the card is of version {card.version}, not {self.version}")
        return card

    def check_file(self) -> None:
        """Sees that there is a graph.

        Raises:
            ArtefactError: it is missing.
        """
        if not self.graph.is_file():
            raise ArtefactError(f"version {self.version} has no {self.graph.name}")

    def check_graph(self, card: Card) -> None:
        """Compares the graph's bytes with the card.

        Raises:
            ArtefactError: it is missing, or is not the graph that was verified or tuned.
        """
        self.check_file()
        name = self.config.default_model_filename or GRAPH_FILE
        if graph_digest(self.graph) != card.digest_of(name):
            data = _data_of(self.graph)
            whole = self.graph.name + (f" with {data.name}" if data.exists() else "")
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
    data = _data_of(graph)
    if not data.exists():
        return _sha256(graph)
    both = f"{_sha256(graph)}  {graph.name}\n{_sha256(data)}  {data.name}\n"
    return sha256(both.encode()).hexdigest()


def _data_of(graph: Path) -> Path:
    """Where weights are that do not fit a graph's own file."""
    return graph.with_name(f"{graph.name}.data")


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

    Raises:
        ArtefactError: the repository itself is not a folder.
    """
    for name in model_names(repository):
        yield from scan_model(repository / name)


def model_names(repository: Path) -> list[str]:
    """Names of the models of a repository, ascending.

    Folders whose name begins with a dot are not models (an export in the making is one).

    Raises:
        ArtefactError: the repository itself is not a folder.
    """
    if not repository.is_dir():
        raise ArtefactError(f"model repository {str(repository)!r} is not a folder")
    found = (folder for folder in repository.iterdir() if folder.is_dir())
    return sorted(folder.name for folder in found if not folder.name.startswith("."))


def scan_model(folder: Path, text: str | None = None) -> Iterator[Entry | Unreadable]:
    """The versions of one model that its policy names, ascending.

    Args:
        folder: of the model.
        text: of a configuration to read in place of the folder's.
    """
    name = folder.name
    try:
        text = _config_text(folder) if text is None else text
        config = _named(from_pbtxt(text), name)
    except (ArtefactError, UnicodeDecodeError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error  # the rest is the path
        yield Unreadable(name, f"config.pbtxt cannot be read: {reason}")
        return
    present = _versions(folder)
    if not (text or any((folder / str(number) / GRAPH_FILE).exists() for number in present)):
        yield Unreadable(
            name, f"there is no config.pbtxt, and no {GRAPH_FILE} to complete one from"
        )
        return
    versions = config.version_policy.select(present)
    if not versions:
        yield Unreadable(name, "no version folder that the version policy serves")
    files = signature(folder)
    for version in versions:
        others = {str(number) for number in present if number != version}
        stamp = tuple(file for file in files if PurePosixPath(file[0]).parts[0] not in others)
        yield Entry(name, version, folder, config, text, stamp)


def _named(config: ModelConfig, name: str) -> ModelConfig:
    if config.name not in {"", name}:
        raise ArtefactError(f"it is of a model named {config.name!r}")
    return config.model_copy(update={"name": name})


def _config_text(folder: Path) -> str:
    path = folder / CONFIG_FILE
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _versions(folder: Path) -> list[int]:
    """Triton takes numeric folder names that do not begin with 0; others are ignored."""
    names = (child.name for child in folder.iterdir() if child.is_dir())
    return [int(name) for name in names if name.isdecimal() and not name.startswith("0")]

"""Reads a published checkpoint without running its code, and fits it into a network strictly."""

import re
import zipfile
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Final

from kokeshi.catalogue import hub_id, is_file_url
from kokeshi.errors import KokeshiError, WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

PRETRAINED: Final = "pretrained"
CONTAINERS: Final = ("state_dict", "model_state_dict", "model", "params")
TORCH_SUFFIXES: Final = (".pth", ".pt", ".tar", ".bin", ".ckpt")
_NAMES_SHOWN: Final = 10
_DIGEST: Final = re.compile(r"-(?P<digest>[0-9a-f]{8,})\.")

State = dict[str, "Tensor"]


@dataclass(frozen=True)
class Weights:
    """A state dict and where it came from."""

    state: State
    source: str  # file name or hub id, never a path
    sha256: str  # of the file


def load(weights: Path | str, published: str) -> Weights:
    """Reads weights.

    Args:
        weights: a file, its https address, a hub id `organisation/name[:file]`, or "pretrained":
            the published ones.
        published: where the authors publish them: an address, a hub id, or words for a human.

    Raises:
        WeightsError: nothing is there, or it is no file of tensors.
    """
    wanted = published if weights == PRETRAINED else str(weights)
    if weights != PRETRAINED and Path(wanted).is_file():
        return _read(Path(wanted), source=Path(wanted).name)
    if is_file_url(wanted):
        return _read(_fetch(wanted), source=wanted)
    if found := hub_id(wanted):
        return _read(_fetch_from_hub(*found), source=":".join(found))
    if weights == PRETRAINED:
        raise WeightsError(
            f"these weights cannot be fetched; get the file from {published} and pass its name"
        )
    raise WeightsError(
        f"{wanted!r} is no file, no https address of one and no hub id organisation/name[:file]"
    )


def converted(weights: Weights, convert: Callable[[State], State]) -> State:
    """The state dict under the network's own names.

    Raises:
        WeightsError: the conversion does not know this file.
    """
    try:
        return convert(weights.state)
    except KokeshiError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise WeightsError(f"{weights.source!r} cannot be converted: {reason}") from error


def fit(network: "nn.Module", state: Mapping[str, "Tensor"], source: str) -> None:
    """Loads a state dict into a network; every parameter and buffer has to be met.

    Raises:
        WeightsError: names are missing or unexpected, or shapes differ; all kinds are named.
    """
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    misshapen = {
        name: f"{name} {tuple(value.shape)} instead of {expected[name]}"
        for name, value in state.items()
        if name in expected and tuple(value.shape) != expected[name]
    }
    fitting = {name: value for name, value in state.items() if name not in misshapen}
    result = network.load_state_dict(fitting, strict=False)
    missing = [name for name in result.missing_keys if name not in misshapen]
    kinds = {
        "missing": missing,
        "unexpected": result.unexpected_keys,
        "of another shape": list(misshapen.values()),
    }
    complaints = [_complaint(kind, names) for kind, names in kinds.items() if names]
    if complaints:
        raise WeightsError(f"{source!r} does not fit the network: {'; '.join(complaints)}")


def _complaint(kind: str, names: list[str]) -> str:
    more = ", ..." if len(names) > _NAMES_SHOWN else ""
    return f"{len(names)} {kind}: {', '.join(names[:_NAMES_SHOWN])}{more}"


def _read(path: Path, source: str) -> Weights:
    if path.suffix == ".safetensors":
        state = _read_safetensors(path)
    elif path.suffix in TORCH_SUFFIXES:
        state = _unwrap(_read_torch(path), source)
    else:
        known = ", ".join((".safetensors", *TORCH_SUFFIXES))
        raise WeightsError(f"{source!r} has none of the known suffixes {known}")
    with path.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    return Weights(state, source, digest)


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path.name!r} is no whole safetensors file: {error}") from error


def _read_torch(path: Path) -> Any:  # noqa: ANN401 - whatever the authors saved
    import torch

    # Training scripts save their argparse.Namespace beside the weights; it runs no code.
    with torch.serialization.safe_globals([Namespace]):
        try:
            return torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
        except (UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise WeightsError(
                f"{path.name!r} is damaged or holds more than tensors, and reading anything else "
                f"could run code from it; convert it to safetensors where you trust it: {reason}"
            ) from error


def _unwrap(content: object, source: str) -> State:
    """The state dict inside the containers that training scripts save."""
    import torch

    while isinstance(content, Mapping):
        held = [content[key] for key in CONTAINERS if isinstance(content.get(key), Mapping)]
        if not held:
            break
        content = held[0]
    items = dict(content) if isinstance(content, Mapping) else {}
    state = {name: value for name, value in items.items() if isinstance(value, torch.Tensor)}
    if not state:
        holds = ", ".join(map(repr, list(items)[:_NAMES_SHOWN])) or type(content).__name__
        raise WeightsError(
            f"{source!r} has no tensors at its top or in {', '.join(CONTAINERS)}; it holds {holds}"
        )
    return state


def _fetch(url: str) -> Path:
    """The file behind an address, in torch's own cache.

    Many authors write the head of the sha256 into the name (`resnet18-f37072fd.pth`); where they
    do, torch checks it.
    """
    import torch

    name = url.rpartition("/")[2]
    path = Path(torch.hub.get_dir(), "checkpoints", name)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = _DIGEST.search(name)
        try:
            torch.hub.download_url_to_file(
                url, str(path), digest["digest"] if digest else None, progress=False
            )
        except (OSError, RuntimeError) as error:
            raise WeightsError(f"cannot fetch {url!r}: {error}") from error
    return path


def _fetch_from_hub(repository: str, file: str) -> Path:
    try:
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError
    except ModuleNotFoundError as error:
        raise WeightsError("downloading weights needs huggingface_hub: install it") from error
    try:
        return Path(huggingface_hub.hf_hub_download(repository, file))
    except (OSError, EntryNotFoundError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(f"cannot fetch {file!r} of {repository!r}: {reason}") from error

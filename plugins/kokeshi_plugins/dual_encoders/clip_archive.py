"""Rewrites a TorchScript archive as safetensors without running it.

The authors publish CLIP as TorchScript programs (`ViT-B-32.pt`), and loading a program is trusting
it. The weights in one are a pickle of nested attributes beside raw storages; this reads just those,
with a reader that knows tensors and no other callable.

    python -m kokeshi_plugins.dual_encoders.clip_archive ViT-B-32.pt ViT-B-32.safetensors
"""

import argparse
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zipfile import BadZipFile, ZipFile

from kokeshi.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

_DTYPES: Final = {
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
# What a damaged pickle makes the unpickler and the tensor builder raise.
_UNREADABLE: Final = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)
_LIST_BUILDERS: Final = {"build_intlist", "build_doublelist", "build_boollist", "build_tensorlist"}


class _Attributes:
    """Stands for every class of the program: what was pickled of it lands in `__dict__`."""


def _tensor(
    storage: "Tensor", offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> "Tensor":
    """The pickle's `_rebuild_tensor_v2`; torch refuses a view beyond the storage."""
    return storage.as_strided(size, stride, offset).clone()


def _as_is(value: object) -> object:
    return value


class _Reader(pickle.Unpickler):
    """An unpickler whose every callable is one of this module's."""

    def __init__(self, archive: ZipFile, folder: str) -> None:
        super().__init__(archive.open(f"{folder}/data.pkl"))
        self._archive, self._folder = archive, folder

    def find_class(self, module: str, name: str) -> Callable[..., Any] | str:
        if module.startswith("__torch__"):
            return _Attributes
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch.jit._pickle" and name in _LIST_BUILDERS:
            return _as_is
        if (module, name) == ("collections", "OrderedDict"):
            return dict  # of backward hooks, always empty
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not part of any weights")

    def persistent_load(self, pid: tuple[str, str, str, str, int]) -> "Tensor":
        """A storage as a flat tensor; pid: ("storage", dtype, file, device, length)."""
        import torch

        _, dtype, name, _, count = pid
        data = self._archive.read(f"{self._folder}/data/{name}")
        if not count:
            return torch.empty(0, dtype=getattr(torch, dtype))
        return torch.frombuffer(bytearray(data), dtype=getattr(torch, dtype), count=count)


def read_archive(path: Path) -> dict[str, "Tensor"]:
    """Reads the tensors of a TorchScript archive under their dotted names.

    Raises:
        WeightsError: the file is no such archive, or holds more than weights.
    """
    try:
        with ZipFile(path) as archive:
            folder = next(n for n in archive.namelist() if n.endswith("/data.pkl")).split("/")[0]
            return dict(_tensors(_Reader(archive, folder).load()))
    except (BadZipFile, StopIteration) as error:
        raise WeightsError(f"{path.name!r} is not a TorchScript archive") from error
    except _UNREADABLE as error:
        raise WeightsError(f"the weights of {path.name!r} are not readable: {error}") from error


def _tensors(value: object, name: str = "") -> Iterator[tuple[str, "Tensor"]]:
    import torch

    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, _Attributes):
        for key, child in vars(value).items():
            yield from _tensors(child, f"{name}.{key}".lstrip("."))


def main() -> None:
    """The command line: the archive, then the file to write."""
    from safetensors.torch import save_file

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    save_file(read_archive(arguments.archive), arguments.output)


if __name__ == "__main__":
    main()

"""The pictures that int8 graphs are calibrated on, and those that fidelity is measured on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kokeshi.contract import ImageInput
from kokeshi.errors import InvalidImageError, SetupError
from kokeshi.images import preprocess

MAX_PICTURES: Final = 512  # of a folder; more say little more
MIN_PICTURES: Final = 16
_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
# Of scikit-image and scikit-learn; no photograph is in both sets.
_FOR_CALIBRATION: Final = ("astronaut", "coffee", "hubble_deep_field", "china.jpg")
_FOR_FIDELITY: Final = ("chelsea", "rocket", "immunohistochemistry", "flower.jpg")
_WINDOWS: Final = 4  # along each side of a photograph, each of half its shorter side


@dataclass(frozen=True)
class Pictures:
    """Pictures as a model takes them."""

    rows: NDArray[np.uint8]  # (N, height, width, 3), RGB
    told: str  # where they came from


def from_folder(folder: Path, contract: ImageInput) -> Pictures:
    """Pictures of a folder and the folders in it, evenly chosen where there are too many.

    Raises:
        SetupError: it holds fewer than `MIN_PICTURES` that can be read.
    """
    if not folder.is_dir():
        raise SetupError(f"{str(folder)!r} is not a folder")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES)
    stride = max(1, -(-len(files) // MAX_PICTURES))
    rows = list(_readable(files[::stride], contract))
    if len(rows) < MIN_PICTURES:
        raise SetupError(
            f"{str(folder)!r} holds {len(rows)} pictures that can be read, "
            f"at least {MIN_PICTURES} are needed"
        )
    return Pictures(np.stack(rows), f"{len(rows)} pictures of the user's")


def _readable(files: list[Path], contract: ImageInput) -> Iterator[NDArray[np.uint8]]:
    for file in files:
        try:
            yield preprocess(file.read_bytes(), contract).pixels
        except InvalidImageError:
            continue


def bundled(contract: ImageInput, *, for_calibration: bool) -> Pictures:
    """Windows of the photographs that scikit-image and scikit-learn carry.

    Raises:
        SetupError: the packages are not installed.
    """
    names = _FOR_CALIBRATION if for_calibration else _FOR_FIDELITY
    try:
        photographs = [_photograph(name) for name in names]
    except ImportError as error:
        raise SetupError(
            f"there are no pictures: name folders with --images and --calibration, or "
            f"pip install 'kokeshi[tune]' ({error})"
        ) from None
    windows = [window for photograph in photographs for window in _windows(photograph)]
    rows = np.stack([preprocess(window, contract).pixels for window in windows])
    plain = ", ".join(Path(name).stem for name in names)
    return Pictures(rows, f"{len(rows)} windows of photographs ({plain})")


def _photograph(name: str) -> NDArray[np.uint8]:
    if name.endswith(".jpg"):
        from sklearn.datasets import load_sample_image

        return load_sample_image(name)
    import skimage.data

    return getattr(skimage.data, name)()


def _windows(photograph: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    height, width = photograph.shape[:2]
    side = min(height, width) // 2
    for top in np.linspace(0, height - side, _WINDOWS, dtype=int):
        for left in np.linspace(0, width - side, _WINDOWS, dtype=int):
            yield np.ascontiguousarray(photograph[top : top + side, left : left + side])

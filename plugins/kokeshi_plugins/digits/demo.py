"""Writes the images of the README's examples: `python -m kokeshi_plugins.digits.demo docs/demo`."""

import io
import sys
from pathlib import Path
from typing import Final
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from PIL import Image

from kokeshi_plugins.digits.data import picture, scans, scene

PIXELS: Final = 64
NAMES: Final = {
    "seven": (7, 0),
    "seven_again": (7, 1),
    "three": (3, 0),
}  # digit, which held-out one


def main(folder: Path) -> None:
    """Held-out scans and a scene of them as PNG; the fitted scans as a zip, a folder per digit."""
    folder.mkdir(parents=True, exist_ok=True)
    held_out = scans("held_out")
    for name, (digit, place) in NAMES.items():
        index = np.flatnonzero(held_out.labels == digit)[place]
        picture(held_out.ink[index], PIXELS).save(folder / f"{name}.png")
    scene("held_out", np.random.default_rng(5))[0].save(folder / "scene.png")
    fit = scans("fit")
    with ZipFile(folder / "digits.zip", "w", ZIP_STORED) as archive:
        for index, (ink, label) in enumerate(zip(fit.ink, fit.labels, strict=True)):
            # a fixed date, so that the same scans give the same file
            entry = ZipInfo(f"{label}/{index:04}.png", date_time=(1998, 7, 1, 0, 0, 0))
            archive.writestr(entry, _png(picture(ink, 32).convert("L")))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

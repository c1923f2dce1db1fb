"""Scanned digits, split once, and scenes drawn from either side of the split.

The split is stratified and fixed by its seed: 60 % to fit, 15 % to calibrate thresholds, 25 % held
out. No scan and no stretch of texture is on two sides.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kokeshi_plugins.digits import DIGIT_PIXELS, SCENE_PIXELS

Side = Literal["fit", "calibrate", "held_out"]
SEED: Final = 2022
INK: Final = 0.35  # a pixel of a scene belongs to a digit from this share of ink on
TEXTURES: Final = ("brick", "grass", "gravel")  # photographs in scikit-image


@dataclass(frozen=True)
class Scans:
    """Digits: `ink` float32 (n, 8, 8) in [0, 1], `labels` int64 (n,)."""

    ink: NDArray[np.float32]
    labels: NDArray[np.int64]


@cache
def scans(side: Side) -> Scans:
    """One side of the split of scikit-learn's 1,797 digits."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    ink, labels = load_digits(return_X_y=True)
    ink = (ink.reshape(-1, 8, 8) / 16).astype(np.float32)
    indices = np.arange(len(labels))
    rest, held_out = train_test_split(indices, test_size=0.25, stratify=labels, random_state=SEED)
    fit, calibrate = train_test_split(rest, test_size=0.2, stratify=labels[rest], random_state=SEED)
    chosen = {"fit": fit, "calibrate": calibrate, "held_out": held_out}[side]
    return Scans(ink[chosen], labels[chosen])


def picture(ink: NDArray[np.float32], pixels: int = DIGIT_PIXELS) -> Image.Image:
    """A scan (8, 8) as a grey RGB picture of `pixels` x `pixels`, white on black."""
    grey = Image.fromarray(np.rint(ink * 255).astype(np.uint8))
    return grey.resize((pixels, pixels), Image.Resampling.BICUBIC).convert("RGB")


def augmented(ink: NDArray[np.float32], random: np.random.Generator) -> Image.Image:
    """The same digit turned, moved, scaled and lit a little differently."""
    size = DIGIT_PIXELS
    angle, scale = random.uniform(-12, 12), random.uniform(0.85, 1.15)
    shift = random.uniform(-2.5, 2.5, 2)
    turned = picture(ink).rotate(angle, Image.Resampling.BILINEAR, translate=tuple(shift))
    side = round(size * scale)
    canvas = Image.new("RGB", (size, size))
    offset = (size - side) // 2
    canvas.paste(turned.resize((side, side), Image.Resampling.BILINEAR), (offset, offset))
    lit = np.asarray(canvas, np.float32) * random.uniform(0.7, 1.1)
    noisy = lit + random.normal(0, random.uniform(0, 12), lit.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


@cache
def _texture(name: str, side: Side) -> NDArray[np.uint8]:
    """The upper three quarters of a photograph to fit, the rest held out."""
    from skimage import data

    photograph: NDArray[np.uint8] = getattr(data, name)()
    border = photograph.shape[0] * 3 // 4
    return photograph[border:] if side == "held_out" else photograph[:border]


def scene(side: Side, random: np.random.Generator) -> tuple[Image.Image, NDArray[np.uint8]]:
    """Two to five digits on a real texture.

    Returns:
        RGB of SCENE_PIXELS squared, and uint8 (height, width): 0 background, 1 + digit elsewhere.
    """
    size = SCENE_PIXELS
    ground = _texture(str(random.choice(TEXTURES)), side)
    top, left = (int(random.integers(0, extent - size)) for extent in ground.shape[:2])
    shade = random.uniform(0.3, 0.8)
    canvas = np.repeat(ground[top : top + size, left : left + size, None] * shade, 3, axis=2)
    label_map = np.zeros((size, size), np.uint8)
    for _ in range(int(random.integers(2, 6))):
        _draw(canvas, label_map, scans(side), random)
    noisy = canvas + random.normal(0, 4, canvas.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)), label_map


def _draw(
    canvas: NDArray[Any],
    label_map: NDArray[np.uint8],
    source: Scans,
    random: np.random.Generator,
) -> None:
    """Inks one digit where no other is; leaves the scene as it was if no free place is found."""
    side = int(random.integers(24, 41))
    index = int(random.integers(len(source.labels)))
    grey = picture(source.ink[index], side).convert("L").rotate(random.uniform(-10, 10))
    ink = np.asarray(grey)[..., None] / 255
    for _ in range(20):
        top, left = random.integers(0, SCENE_PIXELS - side, 2)
        place = np.s_[top : top + side, left : left + side]
        if not label_map[place].any():
            break
    else:
        return
    colour = random.uniform(170, 255, 3)
    canvas[place] = canvas[place] * (1 - ink) + colour * ink
    label_map[place][ink[..., 0] >= INK] = 1 + source.labels[index]


def scenes(side: Side, count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """`count` scenes: images (n, height, width, 3), label maps (n, height, width)."""
    random = np.random.default_rng(seed)
    drawn = [scene(side, random) for _ in range(count)]
    images = np.stack([np.asarray(image) for image, _ in drawn])
    return images, np.stack([label_map for _, label_map in drawn])

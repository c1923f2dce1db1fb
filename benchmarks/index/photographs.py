"""Real embeddings: patches of photographs, by an encoder trained on other parts of the same ones.

The encoder sees the left halves of scikit-image's photographs: two views of a patch shall be near,
those of others far, at each of four prefix lengths (Kusupati et al., "Matryoshka Representation
Learning", 2022, with the loss of Chen et al., "A Simple Framework for Contrastive Learning", 2020).
Rows and queries are patches of the right halves, turned and scaled.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

SEED = 512
NAMES = (
    "astronaut", "brick", "camera", "cat", "coffee", "coins", "grass", "gravel",
    "hubble_deep_field", "immunohistochemistry", "moon", "page", "retina", "rocket",
)  # fmt: skip
LENGTHS = (64, 128, 256, 512)
PIXELS = 32
STEPS, PATCHES = 300, 192  # of training
TEMPERATURE = 0.1
LEARNING_RATE = 2e-3
BATCH = 2000
SCALES = 0.7, 1.4  # source pixels per pixel of a patch
SHIFT_PIXELS = 6.0  # most that one view is moved against the other
TURN = 0.35  # radians that it is turned
LIGHT = 0.25


def photographs_set(rows: int, queries: int, weights: Path) -> tuple[Vectors, Vectors]:
    """(rows, 512) and (queries, 512) of unit norm; `weights` keeps the encoder, once trained."""
    import torch

    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # two take turns on a busy machine, and sum in another order
    pictures = _pictures()
    if weights.exists():
        encoder = _network()
        encoder.load_state_dict(torch.load(weights, weights_only=True))
        encoder.eval()
    else:
        encoder = _trained(pictures)
        torch.save(encoder.state_dict(), weights)
    return _embedded(encoder, pictures, rows, 1), _embedded(encoder, pictures, queries, 2)


def _pictures() -> list[object]:
    import skimage.data
    import torch

    loaded = []
    for name in NAMES:
        picture = getattr(skimage.data, name)()
        picture = np.stack([picture] * 3, axis=-1) if picture.ndim == 2 else picture[..., :3]
        loaded.append(torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255)
    return loaded


class _Places:
    """Where patches lie: centres in pixels, angles and scales, drawn from halves of a picture."""

    def __init__(self, picture: object, count: int, random: np.random.Generator, *, left: bool):
        _, _, self.height, self.width = picture.shape
        margin = PIXELS * SCALES[1] * 0.75 + SHIFT_PIXELS
        half = self.width / 2
        bounds = (margin, half - margin) if left else (half + margin, self.width - margin)
        self.x = random.uniform(*bounds, count)
        self.y = random.uniform(margin, self.height - margin, count)
        self.angles = random.uniform(0, 2 * np.pi, count)
        self.scales = random.uniform(*SCALES, count)

    def moved(self, random: np.random.Generator) -> "_Places":
        other = object.__new__(_Places)
        count = len(self.x)
        other.height, other.width = self.height, self.width
        other.x = self.x + random.uniform(-SHIFT_PIXELS, SHIFT_PIXELS, count)
        other.y = self.y + random.uniform(-SHIFT_PIXELS, SHIFT_PIXELS, count)
        other.angles = self.angles + random.uniform(-TURN, TURN, count)
        other.scales = self.scales * random.uniform(0.9, 1.1, count)
        return other

    def cut(self, picture: object) -> object:
        """(n, 3, 32, 32) patches."""
        import torch
        import torch.nn.functional as F

        steps = np.arange(PIXELS) - (PIXELS - 1) / 2
        dy, dx = np.meshgrid(steps, steps, indexing="ij")
        cos, sin = ((self.scales * turn(self.angles))[:, None, None] for turn in (np.cos, np.sin))
        x = self.x[:, None, None] + cos * dx - sin * dy
        y = self.y[:, None, None] + sin * dx + cos * dy
        grid = np.stack([2 * x / self.width - 1, 2 * y / self.height - 1], axis=-1)
        flat = torch.from_numpy(grid.reshape(1, -1, PIXELS, 2).astype(np.float32))
        cut = F.grid_sample(picture, flat, align_corners=False, padding_mode="reflection")
        return cut.reshape(3, -1, PIXELS, PIXELS).transpose(0, 1)


def _network() -> object:
    from torch import nn

    def block(inside: int, outside: int, stride: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        return [convolution, nn.BatchNorm2d(outside), nn.ReLU()]

    return nn.Sequential(
        *block(3, 24, 2), *block(24, 48, 2), *block(48, 96, 2), *block(96, 128, 1),
        nn.Flatten(), nn.Linear(128 * 16, LENGTHS[-1]),
    )  # fmt: skip


def _trained(pictures: list[object]) -> object:
    import torch
    import torch.nn.functional as F

    encoder = _network()
    optimiser = torch.optim.AdamW(encoder.parameters(), LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, STEPS)
    random = np.random.default_rng([SEED, 0])
    per_picture = -(-PATCHES // len(pictures))
    for _ in range(STEPS):
        places = [_Places(picture, per_picture, random, left=True) for picture in pictures]
        views = [
            torch.cat([each.cut(picture) for each, picture in zip(side, pictures, strict=True)])
            for side in (places, [each.moved(random) for each in places])
        ]
        both = torch.cat([_lit(view, random) for view in views])
        found = encoder(both)
        labels = torch.arange(len(views[0]))
        loss = 0
        for length in LENGTHS:
            one, other = F.normalize(found[:, :length], dim=1).chunk(2)
            logits = one @ other.T / TEMPERATURE
            loss = loss + F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return encoder.eval()


def _lit(patches: object, random: np.random.Generator) -> object:
    import torch

    shape = (len(patches), 3, 1, 1)
    gains = torch.from_numpy(random.uniform(1 - LIGHT, 1 + LIGHT, shape)).float()
    lifts = torch.from_numpy(random.uniform(-LIGHT / 2, LIGHT / 2, shape)).float()
    return patches * gains + lifts


def _embedded(encoder: object, pictures: list[object], count: int, key: int) -> Vectors:
    import torch
    import torch.nn.functional as F

    made = []
    for start in range(0, count, BATCH):
        random = np.random.default_rng([SEED, key, start])
        owners = random.integers(len(pictures), size=min(BATCH, count - start))
        found = np.empty((len(owners), LENGTHS[-1]), np.float32)
        for number, picture in enumerate(pictures):
            chosen = np.flatnonzero(owners == number)
            if len(chosen):
                patches = _Places(picture, len(chosen), random, left=False).cut(picture)
                with torch.inference_mode():
                    found[chosen] = F.normalize(encoder(patches), dim=1).numpy()
        made.append(found)
    return np.concatenate(made)

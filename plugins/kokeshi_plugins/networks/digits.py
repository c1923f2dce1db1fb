"""Small networks for 32-pixel digits and 96-pixel scenes of them, some hundred kilobytes each."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _stage(width_in: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(width_out),
        nn.ReLU(),
        nn.Conv2d(width_out, width_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(width_out),
        nn.ReLU(),
    )


class DigitTrunk(nn.Module):
    """(N, 3, 32, 32) to (N, dim): three stages, halved between them, averaged."""

    def __init__(self, dim: int, widths: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        first, second, third = widths
        self.stages = nn.Sequential(
            _stage(3, first),
            nn.MaxPool2d(2),
            _stage(first, second),
            nn.MaxPool2d(2),
            _stage(second, third),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.project = nn.Linear(third, dim)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.project(self.stages(x))


class DigitClassifier(nn.Module):
    """(N, 3, 32, 32) to 10 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = DigitTrunk(64)
        self.head = nn.Linear(64, 10)

    def features(self, x: Tensor) -> Tensor:
        """(N, 64)."""
        return F.relu(self.trunk(x))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.head(self.features(x))


class DigitMRL(nn.Module):
    """(N, 3, 32, 32) to an embedding whose prefixes classify by themselves.

    One linear head per prefix (MRL) in training; the embedding alone is served.
    """

    def __init__(self, dimensions: Sequence[int]) -> None:
        super().__init__()
        self.dimensions = tuple(dimensions)
        self.trunk = DigitTrunk(self.dimensions[-1])
        self.heads = nn.ModuleList(nn.Linear(dim, 10, bias=False) for dim in self.dimensions)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.trunk(x)

    def logits(self, embedding: Tensor) -> list[Tensor]:
        """Scaled cosines between each prefix and its head's class vectors."""
        return [
            16.0 * F.normalize(embedding[:, :dim], dim=1) @ F.normalize(head.weight, dim=1).T
            for dim, head in zip(self.dimensions, self.heads, strict=True)
        ]


class SceneUNet(nn.Module):
    """(N, 3, 96, 96) to logits (N, 11, 96, 96): a U-Net of three scales (arXiv 1505.04597).

    They stand under "out", as torchvision's segmentation networks have them.
    """

    def __init__(self, classes: int = 11, widths: Sequence[int] = (16, 32, 48)) -> None:
        super().__init__()
        first, second, third = widths
        self.down = nn.ModuleList([_stage(3, first), _stage(first, second), _stage(second, third)])
        self.bottom = _stage(third, third)
        self.up = nn.ModuleList(
            [
                _stage(third + third, second),
                _stage(second + second, first),
                _stage(2 * first, first),
            ]
        )
        self.head = nn.Conv2d(first, classes, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """See the class."""
        skips = []
        for stage in self.down:
            x = stage(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottom(x)
        for stage, skip in zip(self.up, reversed(skips), strict=True):
            x = stage(torch.cat([F.interpolate(x, scale_factor=2.0), skip], dim=1))
        return {"out": self.head(x)}

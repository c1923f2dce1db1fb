"""BASNet: an encoder-decoder over ResNet-34 finds the object, a small U-Net refines it.

Qin et al., Boundary-Aware Segmentation Network for Mobile and Web Applications (2021),
https://arxiv.org/abs/2101.04704. Figures and widths are those of the authors' code,
https://github.com/xuebinqin/BASNet (MIT), at commit 5639381.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, resnet34

# Widths of the three convolutions of each decoder stage, deepest first. A stage reads the one
# before it beside the encoder's map of the same size.
_DECODER = (
    (1024, 512, 512, 512),
    (1024, 512, 512, 512),
    (1024, 512, 512, 256),
    (512, 256, 256, 128),
    (256, 128, 128, 64),
    (128, 64, 64, 64),
)
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class Convolution(nn.Sequential):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, width_in: int, width_out: int, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(width_in, width_out, 3, padding=dilation, dilation=dilation),
            nn.BatchNorm2d(width_out),
            nn.ReLU(),
        )


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def _halved(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, 2, ceil_mode=True)


class Refiner(nn.Module):
    """Adds to a coarse map what a U-Net of 64 channels finds missing."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 64, 3, padding=1)
        self.down = nn.ModuleList(Convolution(64, 64) for _ in range(5))
        self.up = nn.ModuleList(Convolution(128, 64) for _ in range(4))
        self.residual = nn.Conv2d(64, 1, 3, padding=1)

    def forward(self, coarse: Tensor) -> Tensor:
        """Maps logits (N, 1, height, width) to better ones; sides are multiples of 16."""
        x = self.stem(coarse)
        skips: list[Tensor] = []
        for stage in self.down:
            x = stage(_halved(x) if skips else x)
            skips.append(x)
        for stage, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = stage(torch.cat((_doubled(x), skip), 1))
        return coarse + self.residual(x)


class BASNet(nn.Module):
    """From a normalised image to the logits of its salient object, at full size.

    The side outputs of the deeper stages serve training alone and are left out.
    """

    def __init__(self) -> None:
        super().__init__()
        backbone = resnet34(weights=None)
        self.stem = Convolution(3, 64)  # stride 1 and no pool: the first stage is at full size
        self.encoder = nn.ModuleList(
            [
                *(backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4),
                *(nn.Sequential(*(BasicBlock(512, 512) for _ in range(3))) for _ in range(2)),
            ]
        )
        self.bridge = nn.Sequential(*(Convolution(512, 512, dilation=2) for _ in range(3)))
        self.decoder = nn.ModuleList(
            _decoder_stage(widths, 1 if index else 2) for index, widths in enumerate(_DECODER)
        )
        self.coarse = nn.Conv2d(64, 1, 3, padding=1)
        self.refine = Refiner()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, 3, height, width) to logits (N, 1, height, width); sides multiples of 32."""
        x = self.stem(x)
        skips: list[Tensor] = []
        for depth, stage in enumerate(self.encoder):
            # The four stages of the ResNet halve by their own strides, the two behind it by a pool.
            x = stage(x if depth < 4 else _halved(x))  # noqa: PLR2004 - stages 5, 6
            skips.append(x)
        x = self.bridge(x)
        for depth, (stage, skip) in enumerate(zip(self.decoder, reversed(skips), strict=True)):
            x = stage(torch.cat((_doubled(x) if depth else x, skip), 1))
        return self.refine(self.coarse(x))


def _decoder_stage(widths: tuple[int, ...], dilation: int) -> nn.Sequential:
    a, b, c, d = widths
    return nn.Sequential(
        Convolution(a, b), Convolution(b, c, dilation), Convolution(c, d, dilation)
    )


class Foreground(nn.Module):
    """The authors' test script around the network, as far as a graph can hold it."""

    def __init__(self, network: BASNet) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Maps an image (N, 3, height, width) in [0, 1] to its foreground (N, height, width).

        The image is divided by its own largest value before it is normalised, and the map is
        stretched to [0, 1]. Where the authors would divide by zero, a black image stays black and
        a constant map becomes 0.
        """
        brightest = x.amax((1, 2, 3), keepdim=True).clamp(min=1 / 255)
        probability = torch.sigmoid(self.network((x / brightest - self.mean) / self.std))[:, 0]
        low = probability.amin((1, 2), keepdim=True)
        span = probability.amax((1, 2), keepdim=True) - low
        return ((probability - low) / span.clamp(min=1e-12),)

"""Blurred strided convolutions, as in the FFCV recipe for ImageNet."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEWEST_CHANNELS: Final = 16  # a convolution that reads fewer keeps its stride unblurred


class BlurredConv(nn.Module):
    """A 3x3 binomial blur before a strided convolution, so that the stride does not alias."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        row = torch.tensor([1.0, 2.0, 1.0])
        kernel = torch.outer(row, row) / 16
        # Part of the published state dicts, so a buffer that is saved.
        self.register_buffer("blur_filter", kernel.repeat(conv.in_channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, in, height, width) to what the convolution alone would give in shape."""
        blurred = F.conv2d(x, self.blur_filter, padding=1, groups=self.conv.in_channels)
        return self.conv(blurred)


def blur_strided(network: nn.Module) -> None:
    """Puts a blur before every strided convolution that reads at least 16 channels, in place.

    The convolution `<name>` becomes `<name>.conv`, beside its `<name>.blur_filter`.
    """
    for name, child in network.named_children():
        if not isinstance(child, nn.Conv2d):
            blur_strided(child)
        elif max(child.stride) > 1 and child.in_channels >= FEWEST_CHANNELS:
            setattr(network, name, BlurredConv(child))

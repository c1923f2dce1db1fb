"""From the logits of a segmentation network to the class of each pixel."""

import torch
from torch import Tensor, nn


class LabelMap(nn.Module):
    """The class with the largest logit, pixel by pixel."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Maps (N, 3, height, width) to class numbers (N, height, width) uint8.

        The network gives logits (N, classes, height, width) under "out", as torchvision's do.
        """
        return (self.network(x)["out"].argmax(1).to(torch.uint8),)

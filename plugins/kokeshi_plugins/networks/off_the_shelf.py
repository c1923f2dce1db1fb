"""Classes and the vector they are read from, for classifiers that a library wrote."""

import torch
from torch import Tensor, nn

from .heads import unit
from .layers import call_and_catch, pooled


class PreLogits(nn.Module):
    """The vector before the classifier of a timm network."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, 3, height, width) to (N, dim), not normalised."""
        return self.network.forward_head(self.network.forward_features(x), pre_logits=True)


class TimmClassifier(nn.Module):
    """A timm network with both answers.

    The head is called twice on the same maps, because in some networks (two distilled heads) the
    logits do not follow from the pooled vector through one module. The backbone runs once.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (N, 3, height, width) to rows that sum to 1 and to unit vectors (N, dim)."""
        maps = self.network.forward_features(x)
        embedding = self.network.forward_head(maps, pre_logits=True)
        return torch.softmax(self.network.forward_head(maps), dim=-1), unit(embedding)


class TorchvisionClassifier(nn.Module):
    """A torchvision network with its classes and what its last layer reads."""

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network = network
        self._last = (last_layer(network, classes),)  # in a tuple: it has a name already

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (N, 3, height, width) to rows that sum to 1 and to unit vectors (N, dim)."""
        logits, read = call_and_catch(self.network, self._last[0], x, inputs=True)
        return torch.softmax(logits, dim=-1), unit(pooled(read, x.shape[-2:]))


def last_layer(network: nn.Module, classes: int) -> nn.Module:
    """The last linear layer, or convolution, with one output per class."""
    return [
        layer
        for layer in network.modules()
        if (isinstance(layer, nn.Linear) and layer.out_features == classes)
        or (isinstance(layer, nn.Conv2d) and layer.out_channels == classes)
    ][-1]

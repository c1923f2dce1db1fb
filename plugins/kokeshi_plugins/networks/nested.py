"""Matryoshka heads: classifiers that read prefixes of one embedding."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from kokeshi_plugins.networks.heads import Features, unit


class NestedHeads(nn.Module):
    """One classifier for each prefix length, or one whose columns all lengths share.

    Parameters are named as in https://github.com/RAIVNLab/MRL: `nesting_classifier_<i>`, in the
    order of `dimensions`; a shared classifier is number 0 and reads the full length.

    Args:
        dimensions: prefix lengths, ascending; the last is the full one.
        classes: how many each head tells apart.
        shared: one classifier (MRL-E): a prefix meets the first columns and the whole bias.
    """

    def __init__(self, dimensions: Sequence[int], classes: int, shared: bool = False) -> None:
        super().__init__()
        self.dimensions = tuple(dimensions)
        self.shared = shared
        lengths = self.dimensions[-1:] if shared else self.dimensions
        for i, length in enumerate(lengths):
            self.add_module(f"nesting_classifier_{i}", nn.Linear(length, classes))

    @property
    def full(self) -> nn.Linear:
        """The classifier that reads the full length."""
        last = 0 if self.shared else len(self.dimensions) - 1
        return self.get_submodule(f"nesting_classifier_{last}")

    def _logits(self, x: Tensor, i: int) -> Tensor:
        prefix = x[:, : self.dimensions[i]]
        head = self.get_submodule(f"nesting_classifier_{0 if self.shared else i}")
        return prefix @ head.weight[:, : self.dimensions[i]].T + head.bias

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps (N, dim) to the logits (N, classes) of each prefix, in the order of `dimensions`."""
        return tuple(self._logits(x, i) for i in range(len(self.dimensions)))


class ClassifyNested(nn.Module):
    """Probabilities of the full length, the unit embedding, probabilities of each shorter prefix.

    The heads read the features as they are; what is served of a prefix is normalised after the cut.
    """

    def __init__(
        self, features: nn.Module | Callable[[Tensor], Tensor], heads: NestedHeads
    ) -> None:
        super().__init__()
        self.features = Features(features)
        self.heads = heads

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps (N, 3, height, width) to (N, classes), (N, dim), then (N, classes) each."""
        found = self.features(x)
        *shorter, full = [torch.softmax(logits, dim=-1) for logits in self.heads(found)]
        return full, unit(found), *shorter

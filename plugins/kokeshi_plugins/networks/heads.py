"""What stands between a backbone and the declared outputs: softmax, L2 norm, one shared pass."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def unit(x: Tensor) -> Tensor:
    """L2-normalises the last axis, as torch.nn.functional.normalize does.

    Args:
        x: (..., dim) float32; a zero row stays zero.
    """
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp(min=1e-12)


class Features(nn.Module):
    """Calls the features, and owns their module even where they are only a method of it."""

    def __init__(self, features: nn.Module | Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        # A bound method hides its module from `parameters()` and so from `eval()` and the exporter.
        owner = getattr(features, "__self__", features)
        self.owner = owner if isinstance(owner, nn.Module) else None
        self._features = (features,)  # in a tuple, so that a module is not registered twice

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, 3, height, width) to (N, dim) float32."""
        return self._features[0](x)


class ClassifyAndEmbed(nn.Module):
    """Class probabilities and the embedding that they are read from, in one pass."""

    def __init__(
        self,
        features: nn.Module | Callable[[Tensor], Tensor],
        classifier: nn.Module,
        normalise: bool = True,
    ) -> None:
        super().__init__()
        self.features = Features(features)
        self.classifier = classifier
        self.normalise = normalise

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maps (N, 3, height, width) to (N, classes) rows that sum to 1, and (N, dim)."""
        found = self.features(x)
        probabilities = torch.softmax(self.classifier(found), dim=-1)
        return probabilities, unit(found) if self.normalise else found


class Embed(nn.Module):
    """The embedding alone."""

    def __init__(
        self, features: nn.Module | Callable[[Tensor], Tensor], normalise: bool = True
    ) -> None:
        super().__init__()
        self.features = Features(features)
        self.normalise = normalise

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """Maps (N, 3, height, width) to a tuple of one: (N, dim)."""
        found = self.features(x)
        return (unit(found) if self.normalise else found,)

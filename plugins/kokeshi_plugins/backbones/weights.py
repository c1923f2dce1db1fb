"""First looks at a checkpoint, before its names are converted."""

from typing import TYPE_CHECKING

from kokeshi.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor


def unwrapped(state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """The weights without the prefix that data-parallel training puts before every name."""
    return {name.removeprefix("module."): value for name, value in state.items()}


def require(state: "dict[str, Tensor]", network: str, *names: str) -> None:
    """Refuses a file of another network.

    Raises:
        WeightsError: one of the names is missing.
    """
    missing = [name for name in names if name not in state]
    if missing:
        raise WeightsError(f"not a {network} file: {', '.join(map(repr, missing))} missing")

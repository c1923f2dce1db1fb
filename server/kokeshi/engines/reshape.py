"""`reshape` of a configuration: tensors that have one shape in requests and another in the graph.

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md
"""

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from kokeshi.engines.config import ModelConfig, Tensor
from kokeshi.engines.protocol import Tensors

Run = Callable[[Tensors], dict[str, NDArray[Any]]]
_Shapes = dict[str, tuple[Sequence[int], Sequence[int]]]  # from and to, by tensor


def reshaped(config: ModelConfig, run: Run) -> Run:
    """`run` behind the shapes of the configuration; `run` itself where it reshapes nothing."""
    inputs = {tensor.name: shapes for tensor in config.input if (shapes := _shapes(tensor))}
    outputs = {tensor.name: shapes[::-1] for tensor in config.output if (shapes := _shapes(tensor))}
    if not (inputs or outputs):
        return run
    first = 1 if config.max_batch_size else 0

    def between(given: Tensors) -> dict[str, NDArray[Any]]:
        return _mapped(run(_mapped(given, inputs, first)), outputs, first)

    return between


def _shapes(tensor: Tensor) -> tuple[Sequence[int], Sequence[int]] | None:
    return (tensor.dims, tensor.reshape.shape) if tensor.reshape else None


def _mapped(tensors: Tensors, shapes: _Shapes, first: int) -> dict[str, NDArray[Any]]:
    return {
        name: _with_shape(tensor, *shapes[name], first) if name in shapes else tensor
        for name, tensor in tensors.items()
    }


def _with_shape(
    tensor: NDArray[Any], before: Sequence[int], after: Sequence[int], first: int
) -> NDArray[Any]:
    """Sizes that are open in one shape are, in their order, those that are open in the other."""
    row = tensor.shape[first:]
    sizes = iter([size for size, named in zip(row, before, strict=True) if named == -1])
    wanted = [next(sizes) if size == -1 else size for size in after]
    return tensor.reshape(*tensor.shape[:first], *wanted)

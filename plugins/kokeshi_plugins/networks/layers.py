"""Reads an embedding out of any layer of a network, by the layer's own name."""

from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from kokeshi.contract import ImageInput, Meaning, Output
from kokeshi.errors import SetupError
from kokeshi.plugin import Part

from .heads import unit


class WithEmbedding(nn.Module):
    """Some outputs of a part, then one layer of its network with unit norm, in one pass."""

    def __init__(
        self, module: nn.Module, kept: tuple[int, ...], layer: nn.Module, channels_last: bool
    ) -> None:
        super().__init__()
        self.module = module
        self.kept = kept
        self._layer = (layer,)  # in a tuple: a second name for the same weights would confuse
        self.channels_last = channels_last

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps (N, 3, height, width) to the outputs that are kept and (N, dim)."""
        outputs, found = call_and_catch(self.module, self._layer[0], x)
        embedding = unit(pooled(found, x.shape[-2:], self.channels_last))
        return *(outputs[index] for index in self.kept), embedding


def call_and_catch(
    module: nn.Module, layer: nn.Module, x: Tensor, *, inputs: bool = False
) -> tuple[Any, object]:
    """Runs a module and also gives what one layer inside it made, or with `inputs` what it read.

    The hook lives for one call. Tracing runs that call as ordinary Python, so the graph holds the
    layer's output and no hook, and the weights keep their names. Rewriting with torch.fx would
    keep them too, but it cannot trace every network.

    Raises:
        SetupError: the layer was not called.
    """
    found: list[object] = []
    hook = layer.register_forward_hook(
        lambda _layer, read, made: found.append(read[0] if inputs else made)
    )
    try:
        outputs = module(x)
    finally:
        hook.remove()
    if not found:
        raise SetupError("the embedding layer is never called on an image; choose another")
    return outputs, found[-1]


def pooled(output: object, image_size: torch.Size, channels_last: bool = False) -> Tensor:
    """One vector per image: maps and tokens are averaged, vectors stay.

    Args:
        output: (N, C, H, W), (N, H, W, C), (N, L, C) or (N, C). Of the two kinds of maps it is the
            one whose H / W is the image's.
        image_size: height and width.
        channels_last: how to read a map that could be either, because C = H = W.

    Raises:
        SetupError: the layer gives something else.
    """
    if isinstance(output, Tensor):
        match output.ndim:
            case 2:
                return output
            case 3:
                return output.mean(1)
            case 4:
                last = _is_channels_last(output.shape, image_size, channels_last)
                return output.mean((1, 2) if last else (2, 3))
    found = f"{output.ndim} axes" if isinstance(output, Tensor) else f"a {type(output).__name__}"
    raise SetupError(
        "the embedding layer must give maps (N, C, H, W), tokens (N, L, C) or vectors (N, C); "
        f"it gives {found}"
    )


def _is_channels_last(maps: torch.Size, image_size: torch.Size, preferred: bool) -> bool:
    height, width = image_size
    _, a, b, c = maps
    first, last = b * width == c * height, a * width == b * height
    return preferred if first == last else last


def _prefers_channels_last(network: nn.Module) -> bool:
    return getattr(network, "output_fmt", "") == "NHWC"  # timm's word for it


def find_layer(network: nn.Module, name: str) -> nn.Module:
    """The module of that dotted name.

    Raises:
        SetupError: there is none; the message lists the nearest names.
    """
    layers = dict(network.named_modules())
    if name and name in layers:
        return layers[name]
    near = get_close_matches(name, layers, n=5, cutoff=0.4)
    hint = near or [child for child, _ in network.named_children()]
    raise SetupError(f"the network has no layer {name!r}; it has {', '.join(map(repr, hint))}")


def with_embedding(part: Part, network: nn.Module, layer_name: str | None) -> Part:
    """The same part with a layer of `network` as its embedding, after its other outputs.

    Args:
        part: a graph that runs `network`.
        network: where `layer_name` is looked up.
        layer_name: None leaves the part as it is.

    Raises:
        SetupError: no such layer, or one that does not give one vector per image.
    """
    if layer_name is None:
        return part
    kept = tuple(i for i, out in enumerate(part.outputs) if out.meaning is not Meaning.EMBEDDING)
    layer = find_layer(network, layer_name)
    module = WithEmbedding(part.module, kept, layer, _prefers_channels_last(network))
    shape = measure(module, part.input)[-1]
    embedding = Output(name="embedding", meaning=Meaning.EMBEDDING, shape=shape)
    outputs = (*(part.outputs[index] for index in kept), embedding)
    return replace(part, module=module, outputs=outputs)


def measure(module: nn.Module, contract: object) -> list[tuple[int, ...]]:
    """Shapes of a module's outputs without the batch axis, found by running it on two images.

    Leaves the module in evaluation mode.

    Raises:
        SetupError: the module takes no image, or an output has no row for each image, as those
            inside windowed attention.
    """
    if not isinstance(contract, ImageInput):
        raise SetupError("only a network that takes images has embedding layers to choose from")
    batch = torch.zeros(2, 3, contract.height, contract.width)
    with torch.no_grad():  # inference tensors, if cached, could not be traced later
        shapes = [tuple(output.shape) for output in module.eval()(batch)]
    if any(shape[0] != len(batch) for shape in shapes):
        raise SetupError(f"expected outputs with 2 rows for 2 images; they have shapes {shapes}")
    return [shape[1:] for shape in shapes]

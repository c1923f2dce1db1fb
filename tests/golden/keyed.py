"""Weights and inputs that every machine makes alike, so that golden figures need no stored weights.

The value of a parameter depends on nothing but its published name, its shape and the seed. Random
bits come from PCG64's raw stream, which numpy guarantees, and become numbers without libm.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from math import prod, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

GOLDEN = Path(__file__).parent


def _uniform(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """Zero mean, unit variance, within plus or minus the root of 3."""
    count = prod(shape)
    digest = sha256(f"{seed} {name} {tuple(shape)}".encode()).digest()
    bits = np.random.PCG64(int.from_bytes(digest[:16], "little")).random_raw((count + 1) // 2)
    fraction = (bits.view(np.uint32)[:count] >> 8).astype(np.float32) * np.float32(2**-24)
    return torch.from_numpy((fraction * 2 - 1) * np.float32(sqrt(3))).reshape(shape)


def keyed_value(name: str, shape: tuple[int, ...], seed: int, gain: float = 2.0) -> Tensor:
    """One parameter or buffer: see `keyed_state`."""
    leaf = name.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    noise = _uniform(name, shape, seed)
    if leaf == "running_var":
        return 1 + noise / 4
    if len(shape) < 2:
        scales = leaf in {"weight", "gamma", "logit_scale"}
        return 1 + noise / 10 if scales else noise / 10
    if "weight" in leaf or "proj" in leaf:
        return noise * sqrt(gain / prod(shape[1:]))
    return noise / 2  # tokens, position tables


def keyed_state(
    shapes: Mapping[str, tuple[int, ...]], seed: int, gain: float = 2.0
) -> dict[str, Tensor]:
    """A state dict whose activations neither vanish nor explode.

    Args:
        shapes: published name -> shape. Constant buffers (masks, index tables, blur filters) are
            not learnt: leave them out and add them to the result.
        seed: another seed, other weights.
        gain: variance gain of matrices and filters over 1 / fan-in. 2 keeps a plain ReLU chain
            alive; take 1 for deep residual networks, whose branches add up.

    Returns:
        float32, but `num_batches_tracked` int64 zeros; `running_var` in 0.56..1.44, scales of norms
        (one-dimensional weights) near 1.
    """
    return {name: keyed_value(name, tuple(shape), seed, gain) for name, shape in shapes.items()}


def keyed_input(
    count: int,
    height: int,
    width: int,
    seed: int,
    *,
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
    std: tuple[float, float, float] = (0.229, 0.224, 0.225),
) -> Tensor:
    """A normalised batch: the centre of a photograph first, noise after.

    Returns:
        (count, 3, height, width) float32. The photograph is scikit-image's astronaut, so height and
        width are at most 512.
    """
    from skimage.data import astronaut

    photograph = torch.from_numpy(astronaut())
    top, left = (512 - height) // 2, (512 - width) // 2
    crop = photograph[top : top + height, left : left + width].permute(2, 0, 1)[None] / 255
    scale = torch.tensor(std).view(3, 1, 1)
    first = (crop - torch.tensor(mean).view(3, 1, 1)) / scale
    noise = _uniform("input", (count - 1, 3, height, width), seed)
    return torch.cat([first, noise])


def figures(output: Tensor) -> dict[str, Any]:
    """What a golden file keeps of an output: shape, 16 evenly spaced values, sum and norm."""
    flat = output.detach().to(torch.float64).flatten()
    picked = torch.linspace(0, flat.numel() - 1, 16, dtype=torch.float64).round().long()
    return {
        "shape": list(output.shape),
        "values": flat[picked].tolist(),
        "sum": flat.sum().item(),
        "norm": flat.norm().item(),
    }


def assert_figures(output: Tensor, golden: dict[str, Any], rtol: float, atol: float) -> None:
    """Compares an output with what `figures` once said of the reference's.

    Raises:
        AssertionError: shape, a value, the sum or the norm is off. The sum may be off by what
            `atol` allows each element.
    """
    found = figures(output)
    assert found["shape"] == golden["shape"]
    np.testing.assert_allclose(found["values"], golden["values"], rtol=rtol, atol=atol)
    np.testing.assert_allclose(found["norm"], golden["norm"], rtol=rtol)
    np.testing.assert_allclose(
        found["sum"], golden["sum"], rtol=rtol, atol=atol * prod(golden["shape"])
    )


def write_comparison(
    name: str, wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], **facts: Any
) -> None:
    """Writes the golden file of a method from two runs side by side.

    Args:
        name: of the file, without its ending.
        wanted: outputs of the reference by name; of these the figures are taken.
        found: outputs of ours by name.
        facts: method, reference, seed, input.
    """
    worst = {output: (found[output] - wanted[output]).abs().max().item() for output in wanted}
    taken = {output: figures(tensor) for output, tensor in wanted.items()}
    write_golden(name, {**facts, "figures": taken, "worst_difference": worst})


def read_golden(name: str) -> dict[str, Any]:
    """The golden file of a method."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


def write_golden(name: str, content: Mapping[str, Any]) -> None:
    """Writes the golden file of a method, with the versions that made it."""
    versions = {"numpy": np.__version__, "torch": str(torch.__version__)}
    text = json.dumps({**content, "versions": versions}, indent=2)
    (GOLDEN / f"{name}.json").write_text(text + "\n")

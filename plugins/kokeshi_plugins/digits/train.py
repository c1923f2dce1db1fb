"""Trains the shipped models and exports them: `python -m kokeshi_plugins.digits.train`.

Writes checkpoints and thresholds into a folder and calls `kokeshi export` for each, as a user
would. The README quotes the figures that this prints; they are measured on held-out scans only.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from kokeshi_plugins.digits import DIMENSIONS
from kokeshi_plugins.digits.data import SEED, augmented, picture, scans, scenes
from kokeshi_plugins.networks.digits import DigitClassifier, DigitMRL, SceneUNet

Fit = Callable[[int], tuple[nn.Module, dict[str, Any]]]

BATCH: Final = 64
FALSE_MATCHES: Final = 0.001  # share of different pairs that the verifier's threshold lets through


def main() -> None:
    """Trains, measures, exports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=Path("build/digits"))
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--scene-steps", type=int, default=600)
    arguments = parser.parse_args()
    arguments.weights.mkdir(parents=True, exist_ok=True)
    figures = train(arguments.weights, arguments.epochs, arguments.scene_steps)
    print(json.dumps(figures, indent=2))
    for method, name in (
        ("digits_cnn", "digits"),
        ("digits_mrl", "digits_mrl"),
        ("digits_unet", "digit_scenes"),
    ):
        export(arguments.weights, arguments.repository, method, name)


def train(folder: Path, epochs: int, scene_steps: int) -> dict[str, Any]:
    """Trains all three, saves `<method>.safetensors` and thresholds, returns held-out figures."""
    from safetensors.torch import save_file

    jobs = [(_fit_scenes, scene_steps), (_fit_classifier, epochs), (_fit_mrl, epochs)]
    names = ("digits_unet", "digits_cnn", "digits_mrl")
    figures: dict[str, Any] = {}
    # a process each: networks this small gain nothing from more threads, and sums stay the same
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for name, (network, measured) in zip(names, pool.map(_timed, jobs), strict=True):
            save_file(network.state_dict(), folder / f"{name}.safetensors")
            figures[name] = measured
    thresholds = figures["digits_mrl"]["thresholds"]
    (folder / "digits_mrl.thresholds.json").write_text(json.dumps(thresholds, indent=2))
    return figures


def _timed(job: tuple[Fit, int]) -> tuple[nn.Module, dict[str, Any]]:
    fit, length = job
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    started_s = time.monotonic()
    network, measured = fit(length)
    return network, {**measured, "training_s": round(time.monotonic() - started_s, 1)}


def export(weights: Path, repository: Path, method: str, name: str) -> None:
    """Runs `kokeshi export` on a saved checkpoint."""
    command = [sys.executable, "-m", "kokeshi", "export", method, "--name", name]
    command += ["--weights", str(weights / f"{method}.safetensors")]
    command += ["--weights-licence", "Apache-2.0", "--repository", str(repository)]
    thresholds = weights / f"{method}.thresholds.json"
    if thresholds.exists():
        command += ["--thresholds", str(thresholds)]
    subprocess.run(command, check=True)


def _fit_classifier(epochs: int) -> tuple[nn.Module, dict[str, Any]]:
    network = DigitClassifier()
    _fit(network, epochs, lambda x, y: F.cross_entropy(network(x), y, label_smoothing=0.05))
    x, labels = _pictures("held_out")
    accuracy = float((network(x).argmax(1).numpy() == labels).mean())
    return network, {"held_out": len(labels), "accuracy": round(accuracy, 4)}


def _fit_mrl(epochs: int) -> tuple[nn.Module, dict[str, Any]]:
    network = DigitMRL(DIMENSIONS)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        # The MRL loss: every prefix classifies, each with weight one (arXiv 2205.13147, eq. 1).
        return sum(
            (F.cross_entropy(scores, y) for scores in network.logits(network(x))), x.new_zeros(())
        )

    _fit(network, epochs, loss)
    sides = {side: _embedded(network, side) for side in ("fit", "calibrate", "held_out")}
    thresholds = [_calibrated(*sides["calibrate"], dim) for dim in DIMENSIONS]
    measured = {
        "recall_at_1": {dim: _recall(*sides["fit"], *sides["held_out"], dim) for dim in DIMENSIONS},
        "equal_error_rate": {dim: _equal_error(*sides["held_out"], dim) for dim in DIMENSIONS},
        "thresholds": thresholds,
    }
    return network, measured


def _fit(network: nn.Module, epochs: int, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Adam with a cosine schedule over freshly augmented scans."""
    random = np.random.default_rng(SEED)
    side = scans("fit")
    steps = epochs * (len(side.labels) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=4e-3, total_steps=steps)
    network.train()
    for _ in range(steps):
        chosen = random.integers(len(side.labels), size=BATCH)
        pixels = np.stack([np.asarray(augmented(side.ink[i], random)) for i in chosen])
        value = loss(_as_input(pixels), torch.from_numpy(side.labels[chosen]))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
    network.eval()
    network.requires_grad_(False)


def _as_input(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 (N, H, W, 3) to what the networks take: (N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def _pictures(side: str) -> tuple[Tensor, NDArray[np.int64]]:
    found = scans(side)
    return _as_input(np.stack([np.asarray(picture(ink)) for ink in found.ink])), found.labels


def _embedded(network: nn.Module, side: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    x, labels = _pictures(side)
    return network(x).numpy(), labels


def _unit(vectors: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    prefix = vectors[:, :dim]
    return prefix / np.linalg.norm(prefix, axis=1, keepdims=True)


def _recall(
    gallery: NDArray[np.float32],
    gallery_labels: NDArray[np.int64],
    queries: NDArray[np.float32],
    labels: NDArray[np.int64],
    dim: int,
) -> float:
    """Share of queries whose nearest gallery scan is the same digit."""
    nearest = (_unit(queries, dim) @ _unit(gallery, dim).T).argmax(1)
    return round(float((gallery_labels[nearest] == labels).mean()), 4)


def _pairs(
    vectors: NDArray[np.float32], labels: NDArray[np.int64], dim: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines of all pairs of the same digit, and of all pairs of different ones; ascending."""
    unit = _unit(vectors, dim)
    first, second = np.triu_indices(len(labels), k=1)
    cosines = (unit @ unit.T)[first, second]
    same = labels[first] == labels[second]
    return np.sort(cosines[same]), np.sort(cosines[~same])


def _calibrated(
    vectors: NDArray[np.float32], labels: NDArray[np.int64], dim: int
) -> dict[str, Any]:
    """The threshold that lets FALSE_MATCHES of the different pairs through, and its rates."""
    same, different = _pairs(vectors, labels, dim)
    threshold = float(np.quantile(different, 1 - FALSE_MATCHES))
    return {
        "dimension": dim,
        "similarity": round(threshold, 4),
        "false_match_rate": round(float((different >= threshold).mean()), 5),
        "false_non_match_rate": round(float((same < threshold).mean()), 5),
        "calibrated_on": f"all pairs of {len(labels)} scans that neither fit nor test uses",
    }


def _equal_error(vectors: NDArray[np.float32], labels: NDArray[np.int64], dim: int) -> float:
    """Error rate where false matches and false non-matches are equally frequent."""
    same, different = _pairs(vectors, labels, dim)
    thresholds = np.concatenate([same, different])
    misses = np.searchsorted(same, thresholds) / len(same)
    matches = 1 - np.searchsorted(different, thresholds) / len(different)
    closest = np.abs(misses - matches).argmin()
    return round(float((misses[closest] + matches[closest]) / 2), 5)


def _fit_scenes(steps: int) -> tuple[nn.Module, dict[str, Any]]:
    network = SceneUNet()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=3e-3, total_steps=steps)
    weight = torch.tensor([0.4] + [1.0] * 10)
    network.train()
    for step in range(steps):
        images, label_maps = scenes("fit", 16, SEED + step)
        scores = network(_as_input(images))["out"]
        value = F.cross_entropy(scores, torch.from_numpy(label_maps).long(), weight)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
    network.eval()
    network.requires_grad_(False)
    return network, {"scenes": 300, "mean_iou": _mean_iou(network, 300)}


def _mean_iou(network: nn.Module, count: int) -> float:
    """Mean over the eleven classes of intersection over union, on scenes of held-out scans."""
    images, truth = scenes("held_out", count, seed=1)
    found = np.concatenate(
        [
            network(_as_input(images[i : i + 50]))["out"].argmax(1).numpy()
            for i in range(0, count, 50)
        ]
    )
    shares = [
        ((found == c) & (truth == c)).sum() / ((found == c) | (truth == c)).sum() for c in range(11)
    ]
    return round(float(np.mean(shares)), 4)


if __name__ == "__main__":
    main()

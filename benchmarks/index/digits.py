"""Real embeddings: scans of digits, augmented, through the Matryoshka encoder that Kokeshi ships.

Rows are made of some of scikit-learn's 1,797 scans, queries of the others.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

SEED = 1797
MODEL = Path("model_repository/digits_mrl/1/model.onnx")
PIXELS = 32
QUERY_SCANS = 297
BATCH = 2000
DEGREES, SHIFT, SCALE = 12.0, 0.08, 0.15  # most that a scan is turned, moved and scaled
STROKE = 0.6  # most that its strokes are thickened or thinned, of a neighbourhood's extreme


def digits_set(rows: int, queries: int) -> tuple[Vectors, Vectors]:
    """(rows, 64) and (queries, 64) of unit norm."""
    import onnxruntime
    from sklearn.datasets import load_digits

    scans = (load_digits(return_X_y=True)[0] / 16).reshape(-1, 8, 8).astype(np.float32)
    scans = np.random.default_rng(SEED).permutation(scans)
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    return (
        _embedded(session, scans[QUERY_SCANS:], rows, 1),
        _embedded(session, scans[:QUERY_SCANS], queries, 2),
    )


def _embedded(session: object, scans: Vectors, count: int, key: int) -> Vectors:
    made = []
    for start in range(0, count, BATCH):
        random = np.random.default_rng([SEED, key, start])
        size = min(BATCH, count - start)
        pictures = augmented(scans[random.integers(len(scans), size=size)], random)
        made.append(session.run(["embedding"], {"image": pictures})[0])
    return np.concatenate(made)


def augmented(scans: Vectors, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """(n, 32, 32, 3) pictures of scans (n, 8, 8), turned, moved, scaled, with other strokes."""
    import torch
    import torch.nn.functional as F

    count = len(scans)
    angles = np.deg2rad(random.uniform(-DEGREES, DEGREES, count))
    scales = random.uniform(1 - SCALE, 1 + SCALE, count)
    maps = np.zeros((count, 2, 3), np.float32)
    maps[:, 0, 0] = maps[:, 1, 1] = np.cos(angles) / scales
    maps[:, 0, 1] = np.sin(angles) / scales
    maps[:, 1, 0] = -maps[:, 0, 1]
    maps[:, :, 2] = random.uniform(-SHIFT, SHIFT, (count, 2)) * 2
    strokes = torch.from_numpy(random.uniform(-STROKE, STROKE, (count, 1, 1, 1))).float()
    grid = F.affine_grid(torch.from_numpy(maps), [count, 1, PIXELS, PIXELS], align_corners=False)
    ink = F.grid_sample(
        torch.from_numpy(scans)[:, None], grid, mode="bicubic", align_corners=False
    ).clamp(0, 1)
    thick, thin = F.max_pool2d(ink, 3, 1, 1), -F.max_pool2d(-ink, 3, 1, 1)
    ink = torch.where(strokes > 0, ink + strokes * (thick - ink), ink - strokes * (thin - ink))
    grey = (ink * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return grey.repeat(1, 1, 1, 3).numpy()

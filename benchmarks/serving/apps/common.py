"""What every peer does with a picture, as each peer's own examples do it: Pillow, then a session.

Runs in the peer's environment. BENCH_GRAPH is the ONNX file, the same for all.
"""

import io
import os

import numpy as np
import onnxruntime
from PIL import Image

CROP = 224
SHORT = int(os.environ.get("BENCH_RESIZE", "256"))
THREADS = int(os.environ.get("BENCH_THREADS", "2"))
WORKERS = int(os.environ.get("BENCH_WORKERS", "1"))
BATCH = int(os.environ.get("BENCH_BATCH", "8"))
PORT = int(os.environ.get("BENCH_PORT", "9000"))


def prepared(data: bytes) -> np.ndarray:
    """(224, 224, 3) uint8: the shorter side to SHORT, then the centre."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    scale = SHORT / min(picture.size)
    size = tuple(round(side * scale) for side in picture.size)
    picture = picture.resize(size, Image.Resampling.BILINEAR)
    left, top = ((side - CROP) // 2 for side in size)
    return np.asarray(picture.crop((left, top, left + CROP, top + CROP)))


def session() -> onnxruntime.InferenceSession:
    """The graph on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    return onnxruntime.InferenceSession(
        os.environ["BENCH_GRAPH"], options, providers=["CPUExecutionProvider"]
    )


def labels(graph: onnxruntime.InferenceSession, pictures: list[np.ndarray]) -> list[int]:
    """The best class of each picture."""
    found = graph.run(["probabilities"], {"image": np.stack(pictures)})[0]
    return [int(row.argmax()) for row in found]

"""CPU time from JPEG to model input: Kokeshi against Pillow with torchvision's transforms.

    python benchmarks/decode.py

Pictures are a photograph of scikit-image, enlarged with grain and saved at quality 90. Everything
runs in one thread, so that its CPU time is the cost, whatever else the machine does.
"""

import argparse
import io
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from kokeshi.contract import ImageInput, Interpolation
from kokeshi.images import preprocess

SIZES = {"12 Mpx (4000 x 3000)": (4000, 3000), "500 px (500 x 375)": (500, 375)}
CONTRACT = ImageInput(height=224, width=224, resize_size=256)


def jpeg(size: tuple[int, int], *, progressive: bool) -> bytes:
    from skimage import data

    photograph = Image.fromarray(data.stereo_motorcycle()[0]).resize(size, Image.Resampling.LANCZOS)
    grain = np.random.default_rng(0).normal(0, 4, (size[1], size[0], 3))
    pixels = np.clip(np.asarray(photograph) + grain, 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=90, progressive=progressive)
    return out.getvalue()


def reference(contract: ImageInput) -> Callable[[bytes], np.ndarray]:
    import torch
    from torchvision import transforms
    from torchvision.transforms import InterpolationMode

    torch.set_num_threads(1)
    pipeline = transforms.Compose(
        [
            transforms.Resize(
                contract.resize_size, InterpolationMode(contract.interpolation.value)
            ),
            transforms.CenterCrop((contract.height, contract.width)),
        ]
    )
    return lambda data: np.array(pipeline(Image.open(io.BytesIO(data)).convert("RGB")))


def fastest_ms(call: Callable[[], object], runs: int) -> float:
    """The least of several runs: what the work costs when nothing disturbs it."""
    call()
    times_s = []
    for _ in range(runs):
        start_s = time.thread_time()
        call()
        times_s.append(time.thread_time() - start_s)
    return min(times_s) * 1000


def row(name: str, data: bytes, contract: ImageInput, runs: int) -> str:
    baseline = reference(contract)
    reference_ms = fastest_ms(lambda: baseline(data), runs)
    exact_ms = fastest_ms(lambda: preprocess(data, contract, reduced=False), runs)
    reduced_ms = fastest_ms(lambda: preprocess(data, contract), runs)
    apart = np.abs(preprocess(data, contract).pixels.astype(int) - baseline(data))
    return (
        f"| {name} | {contract.interpolation.value} | {reference_ms:.2f} | {exact_ms:.2f} | "
        f"{reduced_ms:.2f} | {reference_ms / exact_ms:.2f} | {reference_ms / reduced_ms:.2f} | "
        f"{apart.mean():.2f} | {np.percentile(apart, 99):.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    print("| JPEG | filter | torchvision ms | exact ms | reduced ms | exact x | reduced x ", end="")
    print("| mean off | p99 off |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, size in SIZES.items():
        for progressive in (False, True):
            data = jpeg(size, progressive=progressive)
            for interpolation in (Interpolation.BILINEAR, Interpolation.BICUBIC):
                contract = CONTRACT.model_copy(update={"interpolation": interpolation})
                kind = "progressive" if progressive else "baseline"
                print(row(f"{name}, {kind}", data, contract, runs))


if __name__ == "__main__":
    main()

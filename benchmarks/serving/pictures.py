"""Real pictures as JPEGs: scikit-image's and scikit-learn's photographs, at two sizes."""

import io

import numpy as np
from PIL import Image

SMALL = 500  # pixels of the longer side
LARGE = (4000, 3000)
QUALITY = 90


def photographs() -> list[Image.Image]:
    """Bundled photographs, RGB."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    arrays = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]
    arrays += list(load_sample_images().images)
    return [Image.fromarray(np.asarray(array)) for array in arrays]


def jpegs(*, large: bool = False) -> list[bytes]:
    """Each photograph and its mirror image as a JPEG of 500 pixels, or of 12 megapixels."""
    found = []
    for photograph in photographs():
        for picture in (photograph, photograph.transpose(Image.Transpose.FLIP_LEFT_RIGHT)):
            scale = SMALL / max(picture.size)
            size = LARGE if large else tuple(round(side * scale) for side in picture.size)
            buffer = io.BytesIO()
            picture.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=QUALITY)
            found.append(buffer.getvalue())
    return found

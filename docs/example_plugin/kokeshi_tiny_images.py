"""Tiny Images (Torralba et al. 2008): a picture's 32 x 32 pixels, centred, are its descriptor."""

from kokeshi.contract import ImageInput, Meaning, Output, Resize
from kokeshi.plugin import Method, Options, Paper, Part, Recipe


def build(options: Options) -> Recipe:
    """One graph: float32 (N, 3, s, s) in [0, 1] to unit vectors (N, 3 * s * s); s is 32."""
    from torch import Tensor, nn

    class Descriptor(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor]:
            pixels = x.flatten(1)
            centred = pixels - pixels.mean(dim=1, keepdim=True)
            return (nn.functional.normalize(centred, dim=1),)

    size = options.image_size or 32
    network = Descriptor()
    image = ImageInput(
        height=size, width=size, resize=Resize.SQUASH, mean=(0.0,) * 3, std=(1.0,) * 3
    )
    vector = Output(name="embedding", meaning=Meaning.EMBEDDING, shape=(3 * size * size,))
    return Recipe(network, (Part(network, image, (vector,)),))


PLUGIN = Method(
    name="tiny_images",
    paper=Paper(
        title="80 Million Tiny Images: A Large Data Set for Nonparametric Object and Scene Recognition",
        authors="A. Torralba, R. Fergus, W. T. Freeman",
        year=2008,
        url="https://doi.org/10.1109/TPAMI.2008.128",
    ),
    licence="Apache-2.0",
    variants=("tiny_images",),
    build=build,
)

"""The small models that ship with Kokeshi: scanned digits, and scenes of them.

Data: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998; the 1,797
scans of 8 x 8 pixels in scikit-learn. `python -m kokeshi_plugins.digits.train` trains all three.
"""

from typing import Final

from kokeshi.contract import ImageInput, Interpolation, Meaning, Output, Resize
from kokeshi.plugin import Method, Options, Paper, Part, Recipe

DIMENSIONS: Final = (8, 16, 32, 64)
DIGITS: Final = tuple("0123456789")
DIGIT_PIXELS: Final = 32
SCENE_PIXELS: Final = 96


def contract(pixels: int) -> ImageInput:
    """Square images of any size, squashed to `pixels`, scaled to [-1, 1]."""
    return ImageInput(
        height=pixels,
        width=pixels,
        resize=Resize.SQUASH,
        interpolation=Interpolation.BILINEAR,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


def _classifier(options: Options) -> Recipe:
    from kokeshi_plugins.networks.digits import DigitClassifier
    from kokeshi_plugins.networks.heads import ClassifyAndEmbed

    network = DigitClassifier()
    outputs = (
        Output(name="probabilities", meaning=Meaning.PROBABILITIES, shape=(10,)),
        Output(name="embedding", meaning=Meaning.EMBEDDING, shape=(64,)),
    )
    module = ClassifyAndEmbed(network.features, network.head)
    part = Part(module, contract(DIGIT_PIXELS), outputs)
    return Recipe(network, (part,), labels=DIGITS)


def _mrl(options: Options) -> Recipe:
    from kokeshi_plugins.networks.digits import DigitMRL
    from kokeshi_plugins.networks.heads import Embed

    network = DigitMRL(DIMENSIONS)
    full = DIMENSIONS[-1]
    output = Output(
        name="embedding", meaning=Meaning.EMBEDDING, shape=(full,), dimensions=DIMENSIONS
    )
    return Recipe(network, (Part(Embed(network.trunk), contract(DIGIT_PIXELS), (output,)),))


def _scenes(options: Options) -> Recipe:
    from kokeshi_plugins.networks.digits import SceneUNet
    from kokeshi_plugins.networks.label_map import LabelMap

    network = SceneUNet()
    shape = (SCENE_PIXELS, SCENE_PIXELS)
    output = Output(name="label_map", meaning=Meaning.LABEL_MAP, shape=shape)
    part = Part(LabelMap(network), contract(SCENE_PIXELS), (output,))
    return Recipe(network, (part,), labels=("background", *DIGITS))


_DATA: Final = Paper(
    title="Optical Recognition of Handwritten Digits",
    authors="E. Alpaydin, C. Kaynak",
    year=1998,
    url="https://doi.org/10.24432/C50P49",
)
PLUGINS: Final = (
    Method(
        name="digits_cnn",
        paper=_DATA,
        licence="Apache-2.0",
        variants=("digits_cnn",),
        build=_classifier,
        summary="ten classes of scanned digits",
    ),
    Method(
        name="digits_mrl",
        paper=Paper(
            title="Matryoshka Representation Learning",
            authors="A. Kusupati et al.",
            year=2022,
            url="https://arxiv.org/abs/2205.13147",
        ),
        licence="Apache-2.0",
        variants=("digits_mrl",),
        build=_mrl,
        summary="Matryoshka embeddings of scanned digits",
    ),
    Method(
        name="digits_unet",
        paper=Paper(
            title="U-Net: Convolutional Networks for Biomedical Image Segmentation",
            authors="O. Ronneberger, P. Fischer, T. Brox",
            year=2015,
            url="https://arxiv.org/abs/1505.04597",
        ),
        licence="Apache-2.0",
        variants=("digits_unet",),
        build=_scenes,
        summary="digits in scenes, pixel by pixel",
    ),
)

"""Input contracts that several publications share."""

from typing import Final

from kokeshi.contract import ImageInput, Interpolation

# The validation transform of the ImageNet training recipe that most authors started from.
IMAGENET_224: Final = ImageInput(height=224, width=224, resize_size=256)
IMAGENET_224_BICUBIC: Final = ImageInput(
    height=224, width=224, resize_size=256, interpolation=Interpolation.BICUBIC
)


def at_size(contract: ImageInput, size: int | None, resize_size: int | None = None) -> ImageInput:
    """The contract for square images of another size.

    Args:
        contract: for square images.
        size: pixels; None leaves the contract as it is.
        resize_size: pixels of the shorter side before the crop; None keeps the proportion.
    """
    if size is None:
        return contract
    native = contract.resize_size or contract.height
    margin = resize_size or native * size // contract.height
    sizes = {"height": size, "width": size, "resize_size": margin}
    return ImageInput.model_validate({**contract.model_dump(), **sizes})

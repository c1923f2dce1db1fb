"""The embedding network of the Triplet paper."""

from collections import OrderedDict
from typing import Final

from torch import Tensor, nn

WIDTH: Final = 128  # of the embedding


class TripletEmbedding(nn.Sequential):
    """Four unpadded convolutions, the last of which meets a 2x2 map; a ReLU ends the network.

    Takes (N, 3, 32, 32) float32 and gives (N, 128), not negative and not of unit length. Written
    after the layers listed in https://github.com/eladhoffer/TripletNet (Models/Model.lua); its
    dropout is left out, for it does nothing when serving.
    """

    def __init__(self) -> None:
        super().__init__(
            OrderedDict(
                conv1=nn.Conv2d(3, 64, 5),
                relu1=nn.ReLU(),
                pool1=nn.MaxPool2d(2),
                conv2=nn.Conv2d(64, 128, 3),
                relu2=nn.ReLU(),
                pool2=nn.MaxPool2d(2),
                conv3=nn.Conv2d(128, 256, 3),
                relu3=nn.ReLU(),
                pool3=nn.MaxPool2d(2),
                conv4=nn.Conv2d(256, WIDTH, 2),
                relu4=nn.ReLU(),
                flatten=nn.Flatten(1),
            )
        )


def cut(flat: Tensor) -> dict[str, Tensor]:
    """Names the pieces of Torch7's flat parameter vector: weight, bias, layer after layer.

    Args:
        flat: (505088,), as `getParameters` of the authors' network orders it.
    """
    template = TripletEmbedding().state_dict()
    pieces = flat.split([tensor.numel() for tensor in template.values()])
    return {
        name: piece.reshape(tensor.shape)
        for (name, tensor), piece in zip(template.items(), pieces, strict=True)
    }

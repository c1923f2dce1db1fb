"""CLIP's text tower as a module of its own."""

import torch
from torch import Tensor, nn


class TextTower(nn.Module):
    """`encode_text` of open_clip's CLIP, which holds the pieces of this tower beside the image's.

    The pieces are shared: weights loaded into the network, in place, are this tower's too. It holds
    no more than these, so that its size is that of its graph. The token table is indexed, not
    called: a graph node named `embedding` would clash with the output of that name.
    """

    mask: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.token_embedding = network.token_embedding
        self.positional_embedding = network.positional_embedding
        self.transformer = network.transformer
        self.ln_final = network.ln_final
        self.text_projection = network.text_projection
        self.register_buffer("mask", network.attn_mask, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Maps (N, context_length) int64 to (N, dim), not normalised.

        The feature is read where the end token stands: the largest id, so an argmax finds it.
        """
        x = self.token_embedding.weight[tokens] + self.positional_embedding
        x = self.ln_final(self.transformer(x, attn_mask=self.mask))
        ends = tokens.argmax(dim=-1)
        return x[torch.arange(x.shape[0], device=x.device), ends] @ self.text_projection

"""What both doors tell of a model beside its card."""

from kokeshi.card import Card
from kokeshi.contract import Meaning


def dimensions(card: Card) -> tuple[int, ...]:
    """Lengths that the model's embeddings can be cut to, ascending; none if it makes none."""
    for output in card.outputs:
        if output.meaning is Meaning.EMBEDDING:
            return output.dimensions or (output.shape[-1],)
    return ()

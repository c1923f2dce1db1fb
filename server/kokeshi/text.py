"""Texts to token ids, with the tokeniser file of a model folder. Knows neither torch nor the model.

What the published tokenisers do in Python before they look at a text is done here: mojibake and
curly quotes are repaired (ftfy), HTML entities decoded, the ends stripped. The rest, from lower
case to the ids, is in the file.
"""

from collections.abc import Sequence
from hashlib import sha256
from html import unescape
from typing import Final

import numpy as np
from ftfy import fix_text
from tokenizers import Tokenizer

from kokeshi.contract import TextInput
from kokeshi.errors import ArtefactError, InvalidRequestError

MAX_CHARACTERS: Final = 10_000  # per text; 77 tokens are filled by some 400


def repair(text: str) -> str:
    """Repairs a text as the published tokenisers do.

    The entities are decoded twice because web pages, the source of all captions, often encode them
    twice. Lone surrogates become U+FFFD, so that the answer is always valid Unicode.

    Source: `basic_clean` of openai/CLIP, clip/simple_tokenizer.py.
    """
    return unescape(unescape(fix_text(text))).strip()


class TextEncoder:
    """A tokeniser for one text contract. Threads may share it."""

    def __init__(self, tokenizer_json: bytes, contract: TextInput) -> None:
        """Reads the tokeniser.

        Args:
            tokenizer_json: the bytes of the file that `contract.tokenizer` names.
            contract: an empty `tokenizer_sha256` is not checked.

        Raises:
            ArtefactError: it is another file than the card names, no tokeniser, or one that does
                not end a text as the contract says.
        """
        found = sha256(tokenizer_json).hexdigest()
        if contract.tokenizer_sha256 not in {"", found}:
            raise ArtefactError(
                f"tokeniser {contract.tokenizer!r} has sha256 {found}, "
                f"the card says {contract.tokenizer_sha256}"
            )
        self._contract = contract
        self._tokenizer = _read(tokenizer_json, contract)
        self._check_the_end()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Encodes texts; what does not fit is cut off and the end token kept.

        Returns:
            (N, context_length) int64.

        Raises:
            InvalidRequestError: a text is empty, blank or over `MAX_CHARACTERS`.
        """
        repaired = [_accepted(text, place) for place, text in enumerate(texts)]
        rows = [found.ids for found in self._tokenizer.encode_batch(repaired)]
        return np.array(rows, dtype=np.int64).reshape(len(rows), self._contract.context_length)

    def _check_the_end(self) -> None:
        """Sees that a long text keeps its end token: the graph looks for it."""
        length, end = self._contract.context_length, self._contract.end_id
        last = int(self.encode(["a " * length])[0, -1])
        if last != end:
            raise ArtefactError(
                f"tokeniser {self._contract.tokenizer!r} ends a truncated text with token {last}, "
                f"the contract says {end}"
            )


def _read(tokenizer_json: bytes, contract: TextInput) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(tokenizer_json.decode())
    except Exception as error:  # the library raises bare Exception for a bad file
        raise ArtefactError(f"tokeniser {contract.tokenizer!r} is not readable: {error}") from error
    # The contract wins over what the file says of lengths.
    tokenizer.enable_truncation(contract.context_length)
    tokenizer.enable_padding(
        length=contract.context_length,
        pad_id=contract.pad_id,
        pad_token=tokenizer.id_to_token(contract.pad_id) or "",
    )
    return tokenizer


def _accepted(text: str, place: int) -> str:
    if len(text) > MAX_CHARACTERS:
        raise InvalidRequestError(
            f"text {place} has {len(text)} characters, at most {MAX_CHARACTERS} are accepted"
        )
    repaired = repair(text)
    if not repaired:
        raise InvalidRequestError(f"text {place} is empty, expected at least one word")
    return repaired

"""CLIP's tokeniser as a file that the `tokenizers` library runs, so that serving needs no more.

The vocabulary and its merges are the authors' (bpe_simple_vocab_16e6.txt.gz, as open_clip bundles
it). The file lower-cases, splits with the authors' expression, and merges bytes; every id equals
the authors' for a text that went through `kokeshi.text.repair`, but for two things. A control token
spelt out in a text is text here: a caption cannot end itself. And letters younger than a library's
Unicode tables are split as that library knows them.
"""

import gzip
from functools import cache
from pathlib import Path
from typing import Final

SIZE: Final = 49_408  # 256 bytes, 256 bytes that end a word, the merges, two control tokens
_MERGES: Final = SIZE - 2 * 256 - 2
START_ID: Final = SIZE - 2
END_ID: Final = SIZE - 1  # the largest id: the graph finds it by argmax

# One letter run, one digit or one run of signs at a time, contractions first. The authors match
# without case: so a long s makes a contraction too, and the iota subscript (U+0345), a mark whose
# upper case is a letter, is neither letter nor sign and falls out.
_WORDS: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}\x{345}]+"

# Rust lower-cases letter by letter, Python knows that a sigma which ends a word is another letter
# (Unicode 3.13, Final_Sigma).
_CASED: Final = r"[\p{Cased}&&[^\p{Case_Ignorable}]]"
_FINAL_SIGMA: Final = rf"(?<={_CASED}\p{{Case_Ignorable}}*)Σ(?!\p{{Case_Ignorable}}*{_CASED})"


def _byte_characters() -> list[str]:
    """The printable character that stands for each byte, in the order of the vocabulary."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = 256 - len(printable)
    return [chr(code) for code in [*printable, *range(256, 256 + others)]]


def _merges(compressed: Path) -> list[tuple[str, str]]:
    lines = gzip.decompress(compressed.read_bytes()).decode().split("\n")
    pairs = (line.split() for line in lines[1 : _MERGES + 1])  # the first line is a version
    return [(first, second) for first, second in pairs]


def _vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    characters = _byte_characters()
    words = [*characters, *(f"{character}</w>" for character in characters)]
    words += ["".join(pair) for pair in merges]
    words += ["<start_of_text>", "<end_of_text>"]
    return {word: number for number, word in enumerate(words)}


@cache
def tokenizer_json(context_length: int) -> bytes:
    """The file: UTF-8 JSON in the format of `tokenizers`, which cuts and pads to `context_length`.

    Padding is id 0, as the authors pad; it means nothing to the network, whose mask is causal.
    """
    from open_clip.tokenizer import default_bpe
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    merges = _merges(Path(default_bpe()))
    bpe = models.BPE(vocab=_vocabulary(merges), merges=merges, end_of_word_suffix="</w>")
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(_FINAL_SIGMA), "ς"), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start_of_text> $A <end_of_text>",
        special_tokens=[("<start_of_text>", START_ID), ("<end_of_text>", END_ID)],
    )
    tokenizer.enable_truncation(context_length)
    tokenizer.enable_padding(length=context_length, pad_id=0, pad_token="!")
    return str(tokenizer.to_str()).encode()

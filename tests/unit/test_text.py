"""Texts to token ids, with a small tokeniser made here."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from kokeshi.contract import TextInput
from kokeshi.errors import ArtefactError, InvalidRequestError
from kokeshi.text import MAX_CHARACTERS, TextEncoder, repair

WORDS = ("<pad>", "<unknown>", "<start>", "a", "photo", "of", "cats", "&", "dogs", "é", "<end>")
CONTRACT = TextInput(context_length=8, pad_id=0, end_id=WORDS.index("<end>"))


def tokenizer_json(ending: str = "<end>") -> bytes:
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"<start> $A {ending}",
        special_tokens=[("<start>", 2), (ending, vocabulary[ending])],
    )
    return tokenizer.to_str().encode()


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(tokenizer_json(), CONTRACT)


def words(row: np.ndarray) -> str:
    return " ".join(WORDS[token] for token in row)


def test_a_text_is_framed_and_padded_to_the_context_length(encoder):
    tokens = encoder.encode(["A photo of cats", "dogs"])
    assert tokens.dtype == np.int64
    assert words(tokens[0]) == "<start> a photo of cats <end> <pad> <pad>"
    assert words(tokens[1]) == "<start> dogs <end> <pad> <pad> <pad> <pad> <pad>"


def test_a_long_text_keeps_its_end_token(encoder):
    (row,) = encoder.encode(["cats " * 100])
    assert words(row) == "<start> " + "cats " * 6 + "<end>"


def test_padding_is_the_contracts(encoder):
    contract = CONTRACT.model_copy(update={"pad_id": 1, "context_length": 4})
    tokens = TextEncoder(tokenizer_json(), contract).encode(["cats"])
    assert tokens.tolist() == [[2, 6, 10, 1]]


def test_no_texts_make_no_rows(encoder):
    assert encoder.encode([]).shape == (0, 8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  cats &amp; dogs\n", "cats & dogs"),
        ("cats &amp;amp; dogs", "cats & dogs"),
        ("Ã©", "é"),
        ("e\u0301", "é"),
        ("“cats”", '"cats"'),
        ("\ud83d\ude42", "🙂"),
        ("\ud800cats", "\ufffdcats"),
    ],
)
def test_a_text_is_repaired_before_it_is_read(text, expected):
    assert repair(text) == expected


def test_the_repaired_text_is_what_is_encoded(encoder):
    (row,) = encoder.encode(["Ã© &amp;amp; dogs"])
    assert words(row).startswith("<start> é & dogs <end>")


@pytest.mark.parametrize("text", ["", "   \n", "&nbsp;", "\x00"])
def test_an_empty_text_is_refused_by_its_place(encoder, text):
    with pytest.raises(InvalidRequestError, match="text 1 is empty"):
        encoder.encode(["cats", text])


def test_a_text_over_the_limit_is_refused_with_both_lengths(encoder):
    encoder.encode(["a" * MAX_CHARACTERS])
    with pytest.raises(InvalidRequestError, match="text 0 has 10001 characters, at most 10000"):
        encoder.encode(["a" * (MAX_CHARACTERS + 1)])


def test_the_tokeniser_that_the_card_names_is_accepted():
    digest = sha256(tokenizer_json()).hexdigest()
    contract = CONTRACT.model_copy(update={"tokenizer_sha256": digest})
    assert TextEncoder(tokenizer_json(), contract).encode(["cats"])[0, 1] == WORDS.index("cats")


def test_another_tokeniser_than_the_cards_is_refused():
    contract = CONTRACT.model_copy(update={"tokenizer_sha256": "0" * 64})
    with pytest.raises(ArtefactError, match=r"'tokenizer.json' has sha256 .* the card says 0000"):
        TextEncoder(tokenizer_json(), contract)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b"not json"])
def test_what_is_no_tokeniser_is_refused(content):
    with pytest.raises(ArtefactError, match=r"'tokenizer\.json' is not readable"):
        TextEncoder(content, CONTRACT)


def test_a_tokeniser_that_ends_texts_otherwise_is_refused():
    with pytest.raises(ArtefactError, match="with token 7, the contract says 10"):
        TextEncoder(tokenizer_json(ending="&"), CONTRACT)


def test_threads_may_share_an_encoder(encoder):
    texts = [" ".join(["cats"] * (n % 9 + 1)) for n in range(200)]
    expected = [encoder.encode([text]).tolist() for text in texts]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: encoder.encode([text]).tolist(), texts))
    assert found == expected


def test_encoding_needs_no_torch():
    code = "import sys, kokeshi.text; sys.exit(bool({'torch', 'open_clip'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

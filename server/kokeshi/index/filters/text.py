"""Filters as one line of text, for a command line.

    colour = 'red' and size >= 3 and not exists(lost)
    camera.model in ('X100', 'Z9') or within(place, 48.1, 11.6, 500)

    filter    = term {"or" term}
    term      = factor {"and" factor}
    factor    = "not" factor | "(" filter ")" | condition
    condition = "exists" "(" field ")"
              | "within" "(" field "," latitude "," longitude "," radius_m ")"
              | field ("=" | "!=" | "<" | "<=" | ">" | ">=") value
              | field ["not"] "in" "(" value {"," value} ")"
              | field "prefix" text
    value     = text | number | "true" | "false"
    text      = in single quotes, a quote in it doubled: 'it''s'
    field     = letters, digits, "_", "$", "-" and dots, no digit first; or in double quotes

Words mean the same in any case. != fits where = does not, so where the field is missing too. "and"
binds closer than "or"; a field named like a word of the language stands in double quotes.
"""

import re
from dataclasses import dataclass
from typing import Final

from kokeshi.errors import InvalidRequestError
from kokeshi.index.filters.checking import check
from kokeshi.index.filters.grammar import (
    MAX_DEPTH,
    And,
    Equals,
    Exists,
    Filter,
    In,
    Not,
    Or,
    Prefix,
    Range,
    Scalar,
    Within,
)

MAX_FILTER_CHARACTERS: Final = 64 * 1024
MAX_NUMBER_CHARACTERS: Final = 64
WORDS: Final = frozenset({"and", "or", "not", "in", "prefix", "exists", "within", "true", "false"})
BOUNDS: Final = {">": "above", ">=": "least", "<=": "most", "<": "below"}

_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^']|'')*')
    | (?P<number>[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)(?![\w.])
    | (?P<name>[^\W\d][\w.$-]*|\$[\w.$-]+)
    | (?P<quoted>"(?:[^"]|"")*")
    | (?P<sign><=|>=|!=|[=<>(),])
    | (?P<end>$)
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class _Token:
    """A word of the text; `at` is its character, from 1."""

    kind: str
    text: str
    at: int

    @property
    def word(self) -> str:
        """A word of the language or a sign; "" for others."""
        lowered = self.text.lower()
        if self.kind == "sign" or (self.kind == "name" and lowered in WORDS):
            return lowered
        return ""


def filter_of_text(text: str) -> Filter:
    """A filter from one line.

    Raises:
        InvalidRequestError: with the character where something else was expected.
    """
    if len(text) > MAX_FILTER_CHARACTERS:
        raise InvalidRequestError(
            f"a filter is at most {MAX_FILTER_CHARACTERS} characters, got {len(text)}"
        )
    parser = _Parser(_tokens(text))
    asked = parser.alternatives(1)
    parser.expect_end()
    check(asked)
    return asked


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while not tokens or tokens[-1].kind != "end":
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            raise _error(at + 1, "a field, a value or a sign", text[at : at + 20])
        kind = match.lastgroup
        tokens.append(_Token(kind, match[kind], match.start(kind) + 1))
        at = match.end()
    return tokens


class _Parser:
    """Reads tokens from left to right."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def expect_end(self) -> None:
        """Refuses what follows the filter."""
        if self._next.kind != "end":
            raise self._expected("'and', 'or' or the end")

    def alternatives(self, depth: int) -> Filter:
        """Terms with "or" between them; `depth` counts parentheses and "not"."""
        if depth > MAX_DEPTH:
            raise self._expected(f"at most {MAX_DEPTH} parentheses in one another")
        terms = [self._all(depth)]
        while self._take("or"):
            terms.append(self._all(depth))
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def _all(self, depth: int) -> Filter:
        terms = [self._factor(depth)]
        while self._take("and"):
            terms.append(self._factor(depth))
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def _factor(self, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            raise self._expected(f"at most {MAX_DEPTH} 'not' in one another")
        if self._take("not"):
            return Not(self._factor(depth + 1))
        if self._take("("):
            inner = self.alternatives(depth + 1)
            self._expect(")")
            return inner
        if self._take("exists"):
            return self._exists()
        return self._within() if self._take("within") else self._comparison()

    def _exists(self) -> Filter:
        self._expect("(")
        field = self._field()
        self._expect(")")
        return Exists(field)

    def _within(self) -> Filter:
        self._expect("(")
        field = self._field()
        values = []
        for _ in range(3):
            self._expect(",")
            values.append(self._number())
        self._expect(")")
        return Within(field, *values)

    def _comparison(self) -> Filter:
        field = self._field()
        if self._take("="):
            return Equals(field, self._value())
        if self._take("!="):
            return Not(Equals(field, self._value()))
        if self._take("prefix"):
            return Prefix(field, self._text())
        if self._take("not"):
            self._expect("in")
            return Not(self._set(field))
        if self._take("in"):
            return self._set(field)
        if self._next.text in BOUNDS:
            return self._bounded(field, BOUNDS[self._advance().text])
        raise self._expected("a comparison, 'in' or 'prefix'")

    def _bounded(self, field: str, name: str) -> Range:
        bound = self._text() if self._next.kind == "text" else self._number()
        return Range(field, **{name: bound})

    def _set(self, field: str) -> In:
        self._expect("(")
        values = [self._value()]
        while self._take(","):
            values.append(self._value())
        self._expect(")")
        return In(field, tuple(values))

    def _field(self) -> str:
        token = self._next
        if token.kind == "quoted":
            return self._advance().text[1:-1].replace('""', '"')
        if token.kind != "name" or token.word:
            raise self._expected("a field")
        return self._advance().text

    def _value(self) -> Scalar:
        if self._next.kind == "text":
            return self._text()
        if self._next.word in {"true", "false"}:
            return self._advance().word == "true"
        return self._number("a text in single quotes, a number, true or false")

    def _text(self) -> str:
        if self._next.kind != "text":
            raise self._expected("a text in single quotes")
        return self._advance().text[1:-1].replace("''", "'")

    def _number(self, expected: str = "a number") -> int | float:
        if self._next.kind != "number" or len(self._next.text) > MAX_NUMBER_CHARACTERS:
            raise self._expected(expected)
        text = self._advance().text
        return int(text) if text.lstrip("+-").isdigit() else float(text)

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _advance(self) -> _Token:
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, word: str) -> bool:
        is_here = self._next.word == word
        self._at += is_here
        return is_here

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise self._expected(repr(word))

    def _expected(self, what: str) -> InvalidRequestError:
        return _error(self._next.at, what, self._next.text)


def _error(at: int, expected: str, got: str) -> InvalidRequestError:
    came = f"{got:.40}"
    return InvalidRequestError(
        f"filter, character {at}: expected {expected}, got {came!r}"
        if got
        else f"filter, character {at}: expected {expected}, got the end"
    )

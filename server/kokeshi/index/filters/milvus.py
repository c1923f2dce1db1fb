"""Filters as boolean expressions of Milvus.

Rows have the fields `id` and `origin` (VARCHAR) and `metadata` (JSON). What was considered:

- A negated comparison of a JSON path keeps rows without the path in some versions and loses them in
  others (issues 46820, 50699 and 50976 of milvus-io/milvus), so of negations only "not exists" is
  pushed.
- `exists` is false for lists and objects that are empty (issue 51143): not pushed by itself.
- `like` escapes its wildcards differently from version to version (issue 43864): a prefix is asked
  as a range of texts.
- Comparisons do not look into lists. Equality asks `json_contains_any` as well; for ranges the rows
  that hold a list somewhere must be told by a BOOL field of their own (`lists`), or all rows that
  have the field are candidates.
- Numbers are written as floats, which compare with integers and floats alike; beyond 2 to the power
  of 53 with bounds that are wider by one step.
- Keys are not unescaped by all versions: only plain ones are pushed.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kokeshi.index.filters.grammar import (
    ID,
    ORIGIN,
    And,
    Equals,
    Exists,
    Filter,
    In,
    Leaf,
    Not,
    Or,
    Prefix,
    Range,
    Scalar,
)
from kokeshi.index.filters.numbers import EXACT_INTEGERS
from kokeshi.index.filters.pushing import Reach, Split, split_by

OPERATORS: Final = frozenset({"eq", "in", "range", "exists", "prefix", "and", "or", "not"})
METADATA: Final = "metadata"
OWN: Final = {ID: "id", ORIGIN: "origin"}
NOTHING: Final = 'id == ""'  # no id is empty
EVERYTHING: Final = 'id != ""'
MAX_JSON_SET: Final = 64  # values compared one by one: a JSON path takes no `in` everywhere
BOUNDS: Final = {"above": ">", "least": ">=", "most": "<=", "below": "<"}

_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_UNSAFE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LAST: Final = "\U0010ffff"
_SURROGATES: Final = 0xD800
_PAST_SURROGATES: Final = 0xE000


def split(asked: Filter, operators: frozenset[str] = OPERATORS) -> Split:
    """What `expression` can say of a filter, and what is left to `matches`."""
    return split_by(asked, operators, _reach)


def expression(pushed: Filter, *, lists: str | None = None) -> str:
    """The pushed part of a filter for Milvus; true for every row that fits, see `split`.

    Args:
        pushed: what `split` gave.
        lists: a BOOL field that is true for rows whose metadata `holds_list`; None: there is none.
    """
    match pushed:
        case And(terms=terms):
            return _joined("and", [expression(term, lists=lists) for term in terms], EVERYTHING)
        case Or(terms=terms):
            return _joined("or", [expression(term, lists=lists) for term in terms], NOTHING)
        case Not(term=Exists(field=field)) if field not in OWN:
            return f"not exists {_path(field)}"
        case Not(term=term):
            return f"not ({expression(term, lists=lists)})"
    if pushed.field in OWN:
        return _own(OWN[pushed.field], pushed)
    return _leaf(_path(pushed.field), pushed, lists)


def holds_list(metadata: Mapping[str, Any]) -> bool:
    """True where a list stands at any path."""
    return any(
        isinstance(value, list) or (isinstance(value, Mapping) and holds_list(value))
        for value in metadata.values()
    )


def quoted(text: str) -> str:
    """A text as a literal."""
    return '"' + "".join(_ESCAPES.get(character, character) for character in text) + '"'


def _reach(leaf: Leaf, is_negated: bool) -> Reach:
    if any(_UNSAFE.search(text) for text in _texts(leaf)):
        return "none"
    if leaf.field in OWN:
        return "exact"
    if not all(map(_KEY.fullmatch, leaf.field.split("."))):
        return "none"
    if isinstance(leaf, Exists):
        return "wider" if is_negated else "none"
    if is_negated:
        return "none"
    return _reach_of_comparison(leaf)


def _reach_of_comparison(leaf: Leaf) -> Reach:
    match leaf:
        case Equals(value=value):
            return "exact" if _is_plain(value) else "wider"
        case In(values=values):
            is_exact = len(values) <= MAX_JSON_SET and all(map(_is_plain, values))
            return "exact" if is_exact else "wider"
        case Range() | Prefix():
            return "wider"
    return "none"


def _is_plain(value: Scalar) -> bool:
    # stand-ins of the server written in Python take true for 1
    return isinstance(value, str) or (abs(value) < EXACT_INTEGERS and value not in {0, 1})


def _texts(leaf: Leaf) -> list[str]:
    match leaf:
        case Equals(value=str(value)):
            return [value]
        case In(values=values):
            return [value for value in values if isinstance(value, str)]
        case Prefix(text=text):
            return [text]
        case Range():
            return [bound for name in BOUNDS if isinstance(bound := getattr(leaf, name), str)]
    return []


def _own(name: str, leaf: Leaf) -> str:
    """A condition on an id or an origin, which is a text and always there."""
    match leaf:
        case Exists():
            return EVERYTHING
        case Equals(value=str(value)):
            return f"{name} == {quoted(value)}"
        case In():
            texts = _texts(leaf)
            return f"{name} in [{', '.join(map(quoted, texts))}]" if texts else NOTHING
        case Prefix(text=text):
            return _between(name, _range_of(text))
        case Range() if _texts(leaf):
            return _between(name, _bounds(leaf))
    return NOTHING


def _leaf(path: str, leaf: Leaf, lists: str | None) -> str:
    match leaf:
        case Equals(value=value):
            return _among(path, [value], lists)
        case In(values=values):
            return _among(path, values, lists)
        case Prefix(text=text):
            return _or_listed(path, [_between(path, _range_of(text))], lists)
        case Range():
            return _or_listed(path, [_between(path, _bounds(leaf))], lists)
    raise TypeError(f"{leaf!r} was not pushed")


def _among(path: str, values: Sequence[Scalar], lists: str | None) -> str:
    small = [value for value in values if isinstance(value, str) or abs(value) < EXACT_INTEGERS]
    if len(values) > MAX_JSON_SET or len(small) < len(values):
        return _or_listed(path, _spans(path, values), lists)
    tests = [f"{path} == {_literal(value)}" for value in values]
    for kind in (str, bool, float):
        literals = [_literal(value) for value in values if _type_of(value) is kind]
        if literals:
            tests.append(f"json_contains_any({path}, [{', '.join(literals)}])")
    return _joined("or", tests, NOTHING)


def _spans(path: str, values: Sequence[Scalar]) -> list[str]:
    """From the least to the greatest of the values, for texts and for numbers; truth values."""
    texts = [value for value in values if isinstance(value, str)]
    numbers = [value for value in values if not isinstance(value, str | bool)]
    spans = [f"{path} == {_literal(value)}" for value in values if isinstance(value, bool)]
    for least, most in ((min(kind), max(kind)) for kind in (texts, numbers) if kind):
        spans.append(_between(path, _bounds(Range("", least=least, most=most))))
    return spans


def _or_listed(path: str, tests: Sequence[str], lists: str | None) -> str:
    """One of the tests, or a list, into which they do not look."""
    if lists is None:
        return f"exists {path}"
    return _joined("or", [*tests, f"{lists} == true"], NOTHING)


def _between(name: str, bounds: Sequence[tuple[str, str]]) -> str:
    return _joined("and", [f"{name} {sign} {bound}" for sign, bound in bounds], f"exists {name}")


def _bounds(asked: Range) -> list[tuple[str, str]]:
    found = []
    for name, sign in BOUNDS.items():
        bound = getattr(asked, name)
        if isinstance(bound, str) or (bound is not None and abs(bound) < EXACT_INTEGERS):
            found.append((sign, _literal(bound)))
        elif bound is not None:
            wide = math.nextafter(float(bound), -math.inf if sign[0] == ">" else math.inf)
            found += [(f"{sign[0]}=", repr(wide))] if math.isfinite(wide) else []
    return found


def _range_of(prefix: str) -> list[tuple[str, str]]:
    """Bounds of the texts that begin with a prefix."""
    bounds = [(">=", quoted(prefix))]
    stem = prefix.rstrip(_LAST)
    if stem:
        after = ord(stem[-1]) + 1
        after = _PAST_SURROGATES if after == _SURROGATES else after
        bounds.append(("<", quoted(stem[:-1] + chr(after))))
    return bounds


def _literal(value: Scalar) -> str:
    if isinstance(value, str):
        return quoted(value)
    return str(value).lower() if isinstance(value, bool) else repr(float(value))


def _type_of(value: Scalar) -> type:
    return type(value) if isinstance(value, str | bool) else float


def _path(field: str) -> str:
    return METADATA + "".join(f'["{key}"]' for key in field.split("."))


def _joined(word: str, tests: Sequence[str], empty: str) -> str:
    return f"({f' {word} '.join(tests)})" if tests else empty

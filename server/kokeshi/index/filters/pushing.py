"""The part of a filter that a remote engine evaluates, and what is left to evaluate here.

A condition is pushed only where the engine loses no row that fits: an engine that finds more than
fits costs time, one that finds less gives wrong answers.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal

from kokeshi.index.filters.grammar import (
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
    Within,
)

# What an engine makes of a condition: what fits and nothing else, that and more, or it cannot say.
Reach = Literal["exact", "wider", "none"]
Split = tuple[Filter | None, Filter | None]  # pushed, and what is left; None: nothing

OPERATORS: Final[dict[type, str]] = {
    Equals: "eq",
    In: "in",
    Range: "range",
    Exists: "exists",
    Prefix: "prefix",
    Within: "geo",
    And: "and",
    Or: "or",
    Not: "not",
}


def split_by(
    asked: Filter, operators: frozenset[str], reach: Callable[[Leaf, bool], Reach]
) -> Split:
    """Parts of a filter: an item fits where it fits both.

    Args:
        asked: the filter.
        operators: that may be pushed; names as in `OPERATORS`.
        reach: what the engine makes of a condition, and of its negation where the flag is set.
    """
    return _split(normal(asked), operators, reach)


def normal(asked: Filter, *, is_negated: bool = False) -> Filter:
    """The same filter with `Not` only around conditions of one field (by De Morgan's laws)."""
    if isinstance(asked, Not):
        return normal(asked.term, is_negated=not is_negated)
    if isinstance(asked, And | Or):
        terms = tuple(normal(term, is_negated=is_negated) for term in asked.terms)
        return And(terms) if isinstance(asked, And) is not is_negated else Or(terms)
    return Not(asked) if is_negated else asked


def _split(asked: Filter, operators: frozenset[str], reach: Callable[[Leaf, bool], Reach]) -> Split:
    if OPERATORS[type(asked)] not in operators:
        return None, asked
    if isinstance(asked, And | Or):
        parts = [_split(term, operators, reach) for term in asked.terms]
        return _all(parts) if isinstance(asked, And) else _any(asked, parts)
    leaf = asked.term if isinstance(asked, Not) else asked
    if isinstance(leaf, And | Or | Not) or OPERATORS[type(leaf)] not in operators:
        return None, asked
    found = reach(leaf, leaf is not asked)
    return None if found == "none" else asked, None if found == "exact" else asked


def _all(parts: Sequence[Split]) -> Split:
    return _joint([pushed for pushed, _ in parts]), _joint([rest for _, rest in parts])


def _any(asked: Or, parts: Sequence[Split]) -> Split:
    pushed = [part for part, _ in parts if part is not None]
    if len(pushed) < len(parts):
        return None, asked
    is_whole = all(rest is None for _, rest in parts)
    return Or(tuple(pushed)), None if is_whole else asked


def _joint(terms: Sequence[Filter | None]) -> Filter | None:
    kept = tuple(term for term in terms if term is not None)
    if len(kept) < 2:  # noqa: PLR2004 - And joins two or more
        return kept[0] if kept else None
    return And(kept)

"""Filters over metadata: a small typed grammar, and its evaluation on columns."""

from kokeshi.index.filters.grammar import (
    MAX_DEPTH,
    MAX_TERMS,
    And,
    Equals,
    Exists,
    Filter,
    In,
    Not,
    Or,
    Prefix,
    Range,
    Within,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_TERMS",
    "And",
    "Equals",
    "Exists",
    "Filter",
    "In",
    "Not",
    "Or",
    "Prefix",
    "Range",
    "Within",
]

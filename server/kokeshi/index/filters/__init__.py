"""Filters over metadata: a small typed grammar, and its evaluation on columns."""

from kokeshi.index.filters.checking import check
from kokeshi.index.filters.columns import Columns, ColumnsGrower
from kokeshi.index.filters.grammar import (
    ID,
    MAX_DEPTH,
    MAX_TERMS,
    MAX_VALUES,
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
    Within,
)
from kokeshi.index.filters.matching import matches
from kokeshi.index.filters.reading import filter_of, json_of
from kokeshi.index.filters.table import MAX_FIELDS, Record
from kokeshi.index.filters.text import filter_of_text

__all__ = [
    "ID",
    "MAX_DEPTH",
    "MAX_FIELDS",
    "MAX_TERMS",
    "MAX_VALUES",
    "ORIGIN",
    "And",
    "Columns",
    "ColumnsGrower",
    "Equals",
    "Exists",
    "Filter",
    "In",
    "Leaf",
    "Not",
    "Or",
    "Prefix",
    "Range",
    "Record",
    "Scalar",
    "Within",
    "check",
    "filter_of",
    "filter_of_text",
    "json_of",
    "matches",
]

"""Filters are read from JSON and from text, and bad ones are refused by their place."""

import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kokeshi.errors import InvalidRequestError
from kokeshi.index.filters import (
    MAX_DEPTH,
    MAX_TERMS,
    MAX_VALUES,
    And,
    Equals,
    Exists,
    In,
    Not,
    Or,
    Prefix,
    Range,
    Within,
    check,
    filter_of,
    filter_of_text,
    json_of,
)

WORDS = st.sampled_from(
    ["and", "or", "not", "field", "eq", "in", "gte", "lt", "exists", "prefix", "within", "a", "$id"]
) | st.text(max_size=4)


def deep(levels):
    asked = {"field": "a", "eq": 1}
    for _ in range(levels - 1):
        asked = {"not": asked}
    return asked


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        ({}, And(())),
        ({"and": []}, And(())),
        ({"or": []}, Or(())),
        ({"not": {"field": "a", "eq": True}}, Not(Equals("a", True))),
        ({"field": "camera.model", "eq": "X"}, Equals("camera.model", "X")),
        ({"field": "f", "in": [1, "a", False]}, In("f", (1, "a", False))),
        ({"field": "f", "in": []}, In("f", ())),
        ({"field": "f", "gte": 1, "lt": 5}, Range("f", least=1, below=5)),
        ({"field": "f", "gt": "2024-01-01", "lte": "b"}, Range("f", above="2024-01-01", most="b")),
        ({"field": "f", "exists": True}, Exists("f")),
        ({"field": "f", "exists": False}, Not(Exists("f"))),
        ({"field": "name", "prefix": "ab"}, Prefix("name", "ab")),
        (
            {"field": "place", "within": {"lat": 1, "lon": 2.5, "radius_m": 3}},
            Within("place", 1, 2.5, 3),
        ),
        ({"field": "f", "eq": 1, "exists": True}, And((Equals("f", 1), Exists("f")))),
        ({"colour": "red"}, Equals("colour", "red")),
        (
            {"colour": "red", "size": {"gte": 3}},
            And((Equals("colour", "red"), Range("size", least=3))),
        ),
        ({"field": "field", "eq": "and"}, Equals("field", "and")),
        ({"$id": {"in": ["a", "b"]}}, In("$id", ("a", "b"))),
    ],
)
def test_json_is_read(value, asked):
    assert filter_of(value) == asked
    assert filter_of(json_of(asked)) == asked
    check(asked)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "filter: expected an object, got None"),
        ([], "filter: expected an object, got []"),
        (
            {"and": [{"colour": "red"}, {"field": "size", "gte": None}]},
            "filter.and[1].gte: expected a number or a text, got None",
        ),
        ({"size": {"gte": None}}, "filter.size.gte: expected a number or a text, got None"),
        ({"size": {"gte": True}}, "filter.size.gte: expected a number or a text, got True"),
        ({"size": {"gte": float("nan")}}, "filter.size.gte: expected a number or a text, got nan"),
        ({"size": {"gte": 2**64}}, "filter.size.gte: expected a number or a text, got 184"),
        ({"size": {}}, "filter.size: expected one of eq, in, gt, gte, lt"),
        ({"size": {"near": 1}}, "filter.size: expected one of eq, in, gt, gte, lt"),
        ({"size": {"gt": 1, "lt": "b"}}, "filter.size: expected bounds that are all numbers or"),
        ({"size": None}, "filter.size: expected a text, a number, true or false, got None"),
        ({"size": [1]}, "filter.size: expected a text, a number, true or false, got [1]"),
        ({"or": {}}, "filter.or: expected a list of filters, got {}"),
        ({"or": [], "a": 1}, "filter: expected 'or' alone, got ['or', 'a']"),
        ({"not": 1}, "filter.not: expected an object, got 1"),
        ({"not": {"or": [{"a": 1}, 7]}}, "filter.not.or[1]: expected an object, got 7"),
        ({"field": 1, "eq": 1}, "filter.field: expected the name of a field, got 1"),
        ({"field": "", "eq": 1}, "filter.field: expected a name of 1 to 512 characters, got ''"),
        ({"field": "a..b", "eq": 1}, "filter.field: expected keys with dots between them"),
        ({"field": "$tenant", "eq": "x"}, "filter.field: expected $id, $origin or a field"),
        ({"field": "a" + ".a" * 16, "eq": 1}, "filter.field: expected at most 16 keys"),
        ({"field": "a"}, "filter: expected one of eq, in, gt"),
        ({"field": "a", "eq": [1]}, "filter.eq: expected a text, a number, true or false, got [1]"),
        ({"field": "a", "in": "abc"}, "filter.in: expected a list of values, got 'abc'"),
        ({"field": "a", "in": [1, None]}, "filter.in[1]: expected a text, a number, true or"),
        ({"field": "a", "in": [1] * 10_001}, "filter.in: expected at most 10000 values, got 10001"),
        ({"field": "a", "exists": 1}, "filter.exists: expected true or false, got 1"),
        ({"field": "a", "prefix": 1}, "filter.prefix: expected a text, got 1"),
        ({"field": "a", "prefix": "\ud800"}, "filter.prefix: expected a text without lone surr"),
        ({"field": "a", "eq": "x" * 4097}, "filter.eq: expected at most 4096 characters, got 'xx"),
        (
            {"field": "a", "within": {"lat": 1}},
            "filter.within: expected an object of lat, lon, rad",
        ),
        (
            {"field": "a", "within": {"lat": 91, "lon": 0, "radius_m": 1}},
            "filter.within.lat: expected degrees in -90..90, got 91",
        ),
        (
            {"field": "a", "within": {"lat": 1, "lon": 0, "radius_m": -1}},
            "filter.within.radius_m: expected metres, at least 0, got -1",
        ),
        (deep(MAX_DEPTH + 1), "expected at most 16 conditions in one another, got 17"),
        (
            {"or": [{"field": "a", "eq": 1}] * MAX_TERMS},
            "filter: expected at most 256 conditions, got 257",
        ),
        (
            {"or": [{"field": "a", "in": [1] * (MAX_VALUES // 2 + 1)}] * 2},
            "filter: expected at most 10000 values in its sets, got 10002",
        ),
    ],
)
def test_bad_json_is_refused_by_its_place(value, message):
    with pytest.raises(InvalidRequestError, match=re.escape(message)):
        filter_of(value)


def test_a_filter_as_deep_and_as_large_as_may_be_is_read():
    filter_of(deep(MAX_DEPTH))
    filter_of({"or": [{"field": "a", "eq": 1}] * (MAX_TERMS - 1)})
    filter_of({"field": "a", "in": list(range(MAX_VALUES))})


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (None, "filter: expected a filter, got None"),
        (And((Exists("a"), "b")), "filter.and[1]: expected a filter, got 'b'"),
        (Or((Not(Range("a")),)), "filter.or[0].not: expected one of gt, gte, lte, lt, got {}"),
        (Not(Equals("a", None)), "filter.not.eq: expected a text, a number, true or false"),
        (In("a", (1, [2])), "filter.in[1]: expected a text, a number, true or false, got [2]"),
        (Equals("", 1), "filter.field: expected a name of 1 to 512 characters, got ''"),
        (
            Within("a", float("nan"), 0, 1),
            "filter.within.lat: expected degrees in -90..90, got nan",
        ),
    ],
)
def test_bad_records_are_refused_by_their_place(asked, message):
    with pytest.raises(InvalidRequestError, match=re.escape(message)):
        check(asked)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (
            "colour = 'red' and size >= 3 and not exists(lost)",
            And((Equals("colour", "red"), Range("size", least=3), Not(Exists("lost")))),
        ),
        (
            "a = 1 or b = 2 and c = 3",
            Or((Equals("a", 1), And((Equals("b", 2), Equals("c", 3))))),
        ),
        (
            "(a = 1 or b = 2) and c = 3",
            And((Or((Equals("a", 1), Equals("b", 2))), Equals("c", 3))),
        ),
        ("camera.model in ('X100', 'Z9')", In("camera.model", ("X100", "Z9"))),
        ("f NOT IN (1,true,'x')", Not(In("f", (1, True, "x")))),
        ("a != 'it''s'", Not(Equals("a", "it's"))),
        ("a < 'b'", Range("a", below="b")),
        ("a <= -1.5e3", Range("a", most=-1500.0)),
        ("a>+.5", Range("a", above=0.5)),
        ("a=9007199254740993", Equals("a", 9007199254740993)),
        ("name prefix 'ab%'", Prefix("name", "ab%")),
        ("within(place, 48.1, -11.6, 500)", Within("place", 48.1, -11.6, 500)),
        ('"two ""words""" = False', Equals('two "words"', False)),
        ('"in" = 1', Equals("in", 1)),
        ("größe.日本_x-y = 1", Equals("größe.日本_x-y", 1)),
        ("$id prefix 'a'", Prefix("$id", "a")),
        ("not not a = 1", Not(Not(Equals("a", 1)))),
        ("a = '(and) or'", Equals("a", "(and) or")),
    ],
)
def test_text_is_read(text, asked):
    assert filter_of_text(text) == asked


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "filter, character 1: expected a field, got the end"),
        ("a", "filter, character 2: expected a comparison, 'in' or 'prefix', got the end"),
        ("a = ", "filter, character 5: expected a text in single quotes, a number, true or false"),
        ("a = b", "filter, character 5: expected a text in single quotes, a number, true or fal"),
        ("a = 'x", 'filter, character 5: expected a field, a value or a sign, got "\'x"'),
        ("a = 1 b = 2", "filter, character 7: expected 'and', 'or' or the end, got 'b'"),
        ("a = 1 and", "filter, character 10: expected a field, got the end"),
        ("(a = 1", "filter, character 7: expected ')', got the end"),
        ("a in ()", "filter, character 7: expected a text in single quotes, a number"),
        ("exists a", "filter, character 8: expected '(', got 'a'"),
        ("and = 1", "filter, character 1: expected a field, got 'and'"),
        ("a = 1; drop", "filter, character 6: expected a field, a value or a sign, got '; drop'"),
        ("a = 12x", "filter, character 5: expected a field, a value or a sign, got '12x'"),
        ("a prefix 1", "filter, character 10: expected a text in single quotes, got '1'"),
        ("$tenant = 'x'", "filter.field: expected $id, $origin or a field"),
        ("a..b = 1", "filter.field: expected keys with dots between them"),
        ("(" * 40 + "a = 1" + ")" * 40, "expected at most 16 parentheses in one another"),
        ("not " * 40 + "a = 1", "expected at most 16 'not' in one another"),
        ("a = " + "9" * 65, "filter, character 5: expected a text in single quotes, a number"),
        ("a = 1 or " * 8000 + "a = 1", "a filter is at most 65536 characters"),
        ("a = 1e999", "filter.eq: expected a text, a number, true or false, got inf"),
    ],
)
def test_bad_text_is_refused_by_its_character(text, message):
    with pytest.raises(InvalidRequestError, match=re.escape(message)):
        filter_of_text(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
        max_leaves=12,
    )
)
@settings(max_examples=300, deadline=None)
def test_any_json_is_read_or_refused(value):
    with suppress(InvalidRequestError):
        asked = filter_of(value)
        check(asked)
        assert filter_of(json_of(asked)) == asked


@given(
    st.lists(WORDS | st.sampled_from(["=", "<=", "(", ")", ",", "'x'", "1", "true"]), max_size=9)
)
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused(words):
    with suppress(InvalidRequestError):
        check(filter_of_text(" ".join(words)))

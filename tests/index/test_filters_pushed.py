"""What is pushed to a remote engine loses no row, and what is left finds the rest."""

import random
from functools import cache

import orjson
import pytest

from kokeshi.index.filters import (
    And,
    Equals,
    Exists,
    In,
    Not,
    Or,
    Prefix,
    Range,
    Within,
    matches,
    milvus,
    qdrant,
)
from kokeshi.index.filters.pushing import normal

TEXTS = ["", "a", "ab", "abc", "b", 'say "a"', "back\\slash", "new\nline", "日本", "😀", "%", "a_c"]
NUMBERS = [0, 1, -1, 1.0, 0.5, -2.5, 3, 1e300, 2**53, 2**53 + 1, 2**62 + 1, -(2**62), 7, 12]
PLACES = [(0.0, 0.0), (0.1, 179.95), (-0.1, -179.95), (90.0, 0.0), (48.1, 11.6), (48.2, 11.7)]
FIELDS = ["a", "b", "c", "a.b", "place", "x-y", "two words", 'quo"te', "$id", "$origin"]
KEYS = ["a", "b", "c", "place", "x-y", "two words", 'quo"te']


def random_scalar(rng):
    kind = rng.randrange(3)
    if kind == 0:
        return rng.choice(TEXTS)
    return rng.choice(NUMBERS) if kind == 1 else rng.random() < 0.5


def random_value(rng, depth=0):
    kind = rng.random()
    latitude, longitude = rng.choice(PLACES)
    if kind < 0.55:
        return random_scalar(rng)
    if kind < 0.65:
        return rng.choice([None, [], {}, [None]])
    if kind < 0.8:
        return [random_scalar(rng) for _ in range(rng.randrange(1, 4))]
    if kind < 0.9 or depth > 1:
        return {"lat": latitude, "lon": longitude}
    return random_metadata(rng, depth + 1)


def random_metadata(rng, depth=0):
    return {key: random_value(rng, depth) for key in rng.sample(KEYS, rng.randrange(5))}


def random_leaf(rng):
    field = rng.choice(FIELDS)
    latitude, longitude = rng.choice(PLACES)
    pool = NUMBERS if rng.random() < 0.6 else TEXTS
    names = rng.sample(["above", "least", "most", "below"], rng.randrange(1, 3))
    return rng.choice(
        [
            Equals(field, random_scalar(rng)),
            In(field, tuple(random_scalar(rng) for _ in range(rng.choice([0, 2, 5, 90])))),
            Range(field, **{name: rng.choice(pool) for name in names}),
            Exists(field),
            Prefix(field, rng.choice(TEXTS)[:2]),
            Within(rng.choice(["place", field]), latitude, longitude, rng.choice([1.0, 3e4, 3e7])),
        ]
    )


def random_filter(rng, depth=0):
    kind = rng.random()
    if depth > 2 or kind < 0.5:
        return random_leaf(rng)
    if kind < 0.7:
        return Not(random_filter(rng, depth + 1))
    terms = tuple(random_filter(rng, depth + 1) for _ in range(rng.randrange(4)))
    return And(terms) if kind < 0.85 else Or(terms)


def random_rows(rng, count):
    rows = []
    for number in range(count):
        metadata = orjson.loads(orjson.dumps(random_metadata(rng)))
        rows.append({
            "id": f"{rng.choice(TEXTS[1:])}{number}",
            "origin": rng.choice(["", "0123456789abcdef"]),
            "metadata": metadata,
            "lists": milvus.holds_list(metadata),
        })  # fmt: skip
    return rows


def fits(asked, row):
    return asked is None or matches(asked, row["id"], row["origin"], row["metadata"])


def check_pushed(asked, pushed, rest, rows, found):
    """`found` are the numbers of the rows that an engine gave for the pushed part."""
    wanted = {number for number, row in enumerate(rows) if fits(asked, row)}
    assert {number for number in found if fits(rest, rows[number])} == wanted, (asked, pushed, rest)


@pytest.mark.parametrize("engine", [milvus, qdrant])
def test_what_is_pushed_and_what_is_left_are_the_filter(engine):
    rng = random.Random(5)
    rows = random_rows(rng, 80)
    pushed_whole = 0
    for _ in range(600):
        asked = random_filter(rng)
        pushed, rest = engine.split(asked)
        pushed_whole += rest is None
        check_pushed(
            asked, pushed, rest, rows, {n for n, row in enumerate(rows) if fits(pushed, row)}
        )
    assert pushed_whole > 60


def test_negation_moves_to_the_conditions():
    inner = Or((Equals("a", 1), Not(And((Exists("b"), Prefix("c", "x"))))))
    assert normal(Not(inner)) == And((Not(Equals("a", 1)), And((Exists("b"), Prefix("c", "x")))))


@pytest.mark.parametrize("engine", [milvus, qdrant])
def test_operators_that_an_engine_lacks_stay_here(engine):
    asked = And((Equals("a", "x"), Range("b", least=1), Or((Equals("c", "y"), Range("d", most=2)))))
    assert engine.split(asked, frozenset()) == (None, asked)
    pushed, rest = engine.split(asked, frozenset({"and", "or", "eq"}))
    assert pushed == Equals("a", "x")
    assert rest == And(asked.terms[1:])


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (
            Equals("a.b", 'x"\\\n'),
            '(metadata["a"]["b"] == "x\\"\\\\\\n" or '
            'json_contains_any(metadata["a"]["b"], ["x\\"\\\\\\n"]))',
        ),
        (Equals("a", True), '(metadata["a"] == true or json_contains_any(metadata["a"], [true]))'),
        (In("$id", ("x", 1, "y")), 'id in ["x", "y"]'),
        (Range("$id", least="a", below="b"), '(id >= "a" and id < "b")'),
        (Prefix("$origin", "ab"), '(origin >= "ab" and origin < "ac")'),
        (Not(Exists("a")), 'not exists metadata["a"]'),
        (Not(Equals("$id", "x")), 'not (id == "x")'),
        (Or(()), 'id == ""'),
        (Range("a", above=1), '((metadata["a"] > 1.0) or has_lists == true)'),
        (
            Range("a", above=2**53 + 1),
            '((metadata["a"] >= 9007199254740991.0) or has_lists == true)',
        ),
    ],
)
def test_expressions_of_milvus(asked, text):
    pushed, _ = milvus.split(asked)
    assert pushed == asked
    assert milvus.expression(pushed, lists="has_lists") == text


def test_a_range_in_milvus_without_a_field_that_tells_lists_asks_for_the_path():
    assert milvus.expression(Range("a", above=1)) == 'exists metadata["a"]'


@pytest.mark.parametrize(
    "asked",
    [
        Not(Equals("a", 1)),  # three-valued in some versions
        Exists("a"),  # false for empty lists in Milvus and Qdrant
        Equals('quo"te', 1),
        Not(Exists('quo"te')),
    ],
)
def test_what_milvus_would_answer_differently_is_not_pushed(asked):
    assert milvus.split(asked) == (None, asked)


@pytest.mark.parametrize(
    ("asked", "condition"),
    [
        (Equals("a.b c", "x"), {"must": [{"key": 'metadata.a."b c"', "match": {"any": ["x"]}}]}),
        (Equals("a", 1), {"must": [{"key": "metadata.a", "range": {"gte": 1.0, "lte": 1.0}}]}),
        (Not(Equals("a", True)), {"must_not": [{"key": "metadata.a", "match": {"value": True}}]}),
        (Not(Exists("a")), {"must": [{"is_empty": {"key": "metadata.a"}}]}),
        (Or(()), {"must": [{"has_id": []}]}),
    ],
)
def test_conditions_of_qdrant(asked, condition):
    pushed, _ = qdrant.split(asked)
    assert pushed == asked
    assert qdrant.expression(pushed) == condition


@cache
def lite_schema():
    types = pytest.importorskip("milvus_lite.schema.types", reason="milvus-lite is not installed")
    kinds = {"id": "VARCHAR", "origin": "VARCHAR", "metadata": "JSON", "lists": "BOOL"}
    fields = [
        types.FieldSchema(name, types.DataType[kind], is_primary=name == "id")
        for name, kind in kinds.items()
    ]
    vector = types.FieldSchema("full", types.DataType.FLOAT_VECTOR, dim=2)
    return types.CollectionSchema([*fields, vector])


@pytest.mark.parametrize("lists", [None, "lists"])
@pytest.mark.parametrize("seed", range(3))
def test_milvus_lite_finds_every_row_that_fits(seed, lists):
    schema = lite_schema()
    import pyarrow as pa
    from milvus_lite.search.filter import compile_filter, evaluate_mask

    rng = random.Random(seed)
    rows = random_rows(rng, 60)
    table = pa.table({
        name: [
            orjson.dumps(row[name]).decode() if name == "metadata" else row[name] for row in rows
        ]
        for name in rows[0]
    })  # fmt: skip
    for _ in range(150):
        asked = random_filter(rng)
        pushed, rest = milvus.split(asked)
        if pushed is not None:
            text = milvus.expression(pushed, lists=lists)
            mask = evaluate_mask(compile_filter(text, schema), table)
            check_pushed(asked, pushed, rest, rows, set(mask.nonzero()[0].tolist()))


@pytest.mark.parametrize("seed", range(3))
def test_qdrant_finds_every_point_that_fits(seed):
    models = pytest.importorskip("qdrant_client.models", reason="qdrant-client is not installed")
    from qdrant_client.local.payload_filters import check_filter

    rng = random.Random(seed)
    rows = random_rows(rng, 60)
    for _ in range(300):
        asked = random_filter(rng)
        pushed, rest = qdrant.split(asked, qdrant.OPERATORS | {"prefix"})
        if pushed is not None:
            condition = models.Filter.model_validate(qdrant.expression(pushed))
            found = {n for n, row in enumerate(rows) if check_filter(condition, row, n, {})}
            check_pushed(asked, pushed, rest, rows, found)

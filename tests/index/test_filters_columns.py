"""Filters on columns give what the plain-Python oracle gives, row by row."""

import math
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import orjson
import pytest

from kokeshi.index.filters import (
    MAX_FIELDS,
    And,
    Columns,
    ColumnsGrower,
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
    json_of,
    matches,
)
from kokeshi.index.filters.columns import RECENT_ROWS
from kokeshi.index.filters.geo import EARTH_RADIUS_M
from kokeshi.index.filters.matching import distance_m

FIELDS = ["a", "b", "c", "a.b", "a.c.d", "place", "size.x", "ümlaut", "$id", "$origin", "none"]
TEXTS = [
    "",
    "a",
    "ab",
    "abc",
    "b",
    "é",
    "日本",
    "😀",
    "1",
    "true",
    "2024-05-01T10:00:00Z",
    "\uffff",
]
NUMBERS = [0, 1, -1, 1.0, 0.5, -0.0, 1e300, 5e-324, 2**53, 2**53 + 1, 2**53 + 2, -(2**63)]
NUMBERS += [2**63 - 1, 2**64 - 1, 2**64 - 2, 1.8446744073709552e19, 9007199254740992.0, 3, 2.5]
PLACES = [(0.0, 0.0), (0.1, 179.95), (-0.1, -179.95), (90.0, 0.0), (90.0, 120.0), (-89.9, 45.0)]
PLACES += [(48.1, 11.6), (48.2, 11.7), (0.0, 180.0), (0.0, -180.0)]


def random_scalar(rng):
    return rng.choice(
        [lambda: rng.choice(TEXTS), lambda: rng.choice(NUMBERS), lambda: rng.random() < 0.5]
    )()


def random_place(rng):
    latitude, longitude = rng.choice(PLACES)
    place = {"lat": latitude, "lon": longitude}
    return rng.choice([place, place, place | {"lat": "48"}, {"lat": 91, "lon": 0}, {"lat": True}])


def random_value(rng, depth=0):
    kind = rng.random()
    if kind < 0.5:
        return random_scalar(rng)
    if kind < 0.6:
        return None
    if kind < 0.75:
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind < 0.85 or depth > 2:
        return random_place(rng)
    return random_metadata(rng, depth + 1)


def random_metadata(rng, depth=0):
    keys = ["a", "b", "c", "d", "x", "place", "size", "ümlaut", "a.b", "", "$id", "lat"]
    return {key: random_value(rng, depth) for key in rng.sample(keys, rng.randrange(6))}


def random_range(rng, field):
    pool = NUMBERS if rng.random() < 0.6 else TEXTS
    names = rng.sample(["above", "least", "most", "below"], rng.randrange(1, 3))
    return Range(field, **{name: rng.choice(pool) for name in names})


def random_leaf(rng):
    field = rng.choice(FIELDS)
    latitude, longitude = rng.choice(PLACES)
    radius = rng.choice([1.0, 15_000.0, 30_000.0, 2e6, 3e7])
    return rng.choice(
        [
            lambda: Equals(field, random_scalar(rng)),
            lambda: In(field, tuple(random_scalar(rng) for _ in range(rng.choice([0, 2, 5, 40])))),
            lambda: random_range(rng, field),
            lambda: Exists(field),
            lambda: Prefix(field, rng.choice(TEXTS)[:2]),
            lambda: Within(rng.choice(["place", field]), latitude, longitude, radius),
        ]
    )()


def random_filter(rng, depth=0):
    kind = rng.random()
    if depth > 3 or kind < 0.5:
        return random_leaf(rng)
    if kind < 0.65:
        return Not(random_filter(rng, depth + 1))
    terms = tuple(random_filter(rng, depth + 1) for _ in range(rng.randrange(4)))
    return And(terms) if kind < 0.85 else Or(terms)


def random_records(rng, count):
    return [
        (
            f"{rng.choice(TEXTS)}{i}",
            rng.choice(["", "t1", "t2"]),
            rng.choice(["", "0123456789abcdef"]),
            orjson.dumps(random_metadata(rng)),
        )
        for i in range(count)
    ]


def expected_mask(records, asked):
    return np.array(
        [
            matches(asked, item_id, origin, orjson.loads(metadata))
            for item_id, _, origin, metadata in records
        ],
        np.bool_,
    )


def differing(columns, records, asked):
    mask = columns.mask(asked)
    assert mask.dtype == np.bool_
    assert mask.shape == (len(records),)
    return [records[i] for i in np.flatnonzero(mask != expected_mask(records, asked))]


@pytest.mark.parametrize("seed", range(20))
def test_columns_agree_with_the_oracle_for_random_filters(seed):
    rng = random.Random(seed)
    records = random_records(rng, 60)
    columns = Columns.of(records)
    for _ in range(150):
        asked = random_filter(rng)
        check(asked)
        assert filter_of(orjson.loads(orjson.dumps(json_of(asked)))) == asked
        assert not differing(columns, records, asked), asked


@pytest.mark.parametrize("seed", range(8))
def test_grown_joined_cut_and_reread_columns_agree_with_the_oracle(seed, monkeypatch):
    rng = random.Random(100 + seed)
    monkeypatch.setattr("kokeshi.index.filters.columns.RECENT_ROWS", 8)
    records = random_records(rng, 120)
    grower = ColumnsGrower()
    views = []
    at = 0
    while at < len(records):
        size = rng.choice([1, 1, 2, 7, 30])
        batch = records[at : at + size]
        grown = grower.append(batch) if rng.random() < 0.5 else grower.extend(Columns.of(batch))
        views.append((at + len(batch), grown))
        at += size
    whole = views[-1][1]
    order = rng.sample(range(120), 50)
    fitting = np.array([rng.random() < 0.4 for _ in records])
    shapes = [
        *((view, records[:count]) for count, view in views),
        (Columns.joined([whole, views[3][1]]), records + records[: views[3][0]]),
        (Columns.from_bytes(whole.to_bytes()), records),
        (whole.part(slice(10, 75)), records[10:75]),
        (whole.part(np.array(order)), [records[i] for i in order]),
        (whole.part(fitting), [records[i] for i in np.flatnonzero(fitting)]),
        (Columns.from_bytes(whole.part(slice(3, 9)).to_bytes()), records[3:9]),
    ]
    for _ in range(15):
        asked = random_filter(rng)
        for columns, rows in shapes:
            assert len(columns) == len(rows)
            assert not differing(columns, rows, asked), asked


@pytest.mark.parametrize("seed", range(6))
def test_fields_past_the_most_answer_as_the_others_do(seed, monkeypatch):
    monkeypatch.setattr("kokeshi.index.filters.table.MAX_FIELDS", 3)
    rng = random.Random(200 + seed)
    records = random_records(rng, 60)
    parts = [Columns.of(records[:20]), Columns.of(records[20:40]), Columns.of(records[40:])]
    joined = Columns.joined([Columns.joined(parts[:2]), parts[2]])
    shapes = [Columns.of(records), joined, Columns.from_bytes(joined.to_bytes())]
    for _ in range(80):
        asked = random_filter(rng)
        for columns in shapes:
            assert not differing(columns, records, asked), asked


def test_a_thousand_keys_a_row_do_not_make_a_thousand_columns_a_row():
    records = [
        (str(row), "", "", orjson.dumps({f"key{row}-{i}": i for i in range(300)}))
        for row in range(20)
    ]
    columns = Columns.joined([Columns.of(records[:10]), Columns.of(records[10:])])
    fields = columns.tables[0].fields
    assert len(fields) <= MAX_FIELDS + 4
    assert columns.mask(Equals("key19-299", 299)).nonzero()[0].tolist() == [19]
    assert columns.mask(Range("key0-7", most=7)).nonzero()[0].tolist() == [0]
    assert columns.memory_bytes < 20 * sum(len(record[3]) for record in records)


def test_a_tenant_has_its_own_rows_and_one_alone_needs_no_mask():
    records = [(str(i), tenant, "", b"{}") for i, tenant in enumerate(["", "x", "", "y"])]
    columns = Columns.of(records)
    assert columns.tenants() == {"", "x", "y"}
    assert columns.tenant_mask("").tolist() == [True, False, True, False]
    assert columns.tenant_mask("nobody").tolist() == [False] * 4
    assert Columns.of(records[:1]).tenant_mask("") is None
    assert Columns.of(records[:1]).tenant_mask("x").tolist() == [False]
    grown = ColumnsGrower(Columns.of(records[:1])).append(records[1:2])
    assert grown.tenants() == {"", "x"}
    assert grown.tenant_mask("x").tolist() == [False, True]
    assert grown.tenant_mask("").tolist() == [True, False]
    assert grown.memory_bytes > Columns.of(records[:1]).memory_bytes
    assert grown.part(np.array([1])).tenants() == {"x"}
    assert grown.part(slice(1, 2)).tenant_mask("x") is None


def test_a_slice_of_rows_forgets_the_tenants_that_are_not_in_it():
    columns = Columns.of([(str(i), f"t{i}", "", b"{}") for i in range(4)])
    assert columns.part(slice(0, 2)).tenants() == {"t0", "t1"}


def test_views_handed_out_earlier_never_change():
    grower = ColumnsGrower()
    views = []
    for i in range(700):
        record = (f"id{i}", "", "", orjson.dumps({"number": i, "text": f"{i % 7}"}))
        views.append(grower.append([record]))
    for count, view in enumerate(views, 1):
        if count % 50 == 1:
            assert len(view) == count
            assert view.mask(Exists("number")).all()
            assert view.mask(Range("number", least=count - 1)).nonzero()[0].tolist() == [count - 1]
    assert len(views[-1].tables) < 12


def test_many_batches_leave_few_tables_beside_one_another():
    grower = ColumnsGrower()
    most = 0
    for batch in range(200):
        columns = grower.extend(Columns.of([(f"{batch}.{i}", "", "", b"{}") for i in range(3)]))
        most = max(most, len(columns.tables))
        assert len(columns) == 3 * (batch + 1)
    assert most <= 3 * 4  # up to three tables of each of the sizes 3, 12, 48 and 192 rows


def test_rows_become_columns_ahead_of_time_only_where_they_are_many():
    records = [(str(i), "", "", b"{}") for i in range(RECENT_ROWS)]
    assert Columns.ready(records[1:]) == records[1:]
    assert len(Columns.ready(records).settled) == 1


def test_a_mask_is_the_callers_to_change():
    columns = Columns.from_bytes(
        Columns.of(
            [(str(i), f"t{i % 2}", "", b'{"a":[1,2],"b":true}') for i in range(4)]
        ).to_bytes()
    )
    for asked in [Exists("a"), Equals("b", True), Equals("a", 2), And(()), Exists("nothing")]:
        before = columns.mask(asked)
        columns.mask(asked)[:] ^= True
        assert (columns.mask(asked) == before).all()
    columns.tenant_mask("t0")[:] = True
    assert columns.tenant_mask("t0").tolist() == [True, False, True, False]


def test_many_threads_ask_recent_rows_at_once():
    grower = ColumnsGrower()
    columns = grower.append([(str(i), "", "", b'{"a":%d}' % i) for i in range(200)])
    with ThreadPoolExecutor(8) as pool:
        masks = list(pool.map(lambda i: columns.mask(Equals("a", i)), range(64)))
    assert [mask.nonzero()[0].tolist() for mask in masks] == [[i] for i in range(64)]


@pytest.mark.parametrize("radius_m", [0.5, 100.0, 25_000.0, 3_000_000.0, 15_000_000.0])
def test_a_circle_holds_the_points_that_the_haversine_says(radius_m):
    rng = np.random.default_rng(int(radius_m))
    centres = [(90.0, 10.0), (-90.0, 0.0), (0.0, 180.0), (12.0, -179.999), (48.1, 11.6)]
    for latitude, longitude in centres:
        # at random directions and about the radius away, over poles and the antimeridian too
        bearing = rng.uniform(0, 2 * np.pi, 300)
        angle = rng.uniform(0.5, 1.5, 300) * radius_m / EARTH_RADIUS_M
        start = math.radians(latitude)
        sine = math.sin(start) * np.cos(angle) + math.cos(start) * np.sin(angle) * np.cos(bearing)
        ends = np.arcsin(sine.clip(-1, 1))
        east = np.sin(bearing) * np.sin(angle) * math.cos(start)
        turns = np.arctan2(east, np.cos(angle) - math.sin(start) * np.sin(ends))
        longitudes = (longitude + np.degrees(turns) + 540) % 360 - 180
        points = [
            {"lat": float(end), "lon": float(along)}
            for end, along in zip(np.degrees(ends), longitudes, strict=True)
        ]
        asked = Within("place", latitude, longitude, radius_m)
        far = [abs(distance_m(asked, (at["lat"], at["lon"])) - radius_m) > 1e-4 for at in points]
        records = [(str(i), "", "", orjson.dumps({"place": at})) for i, at in enumerate(points)]
        columns = Columns.of(records)
        differ = columns.mask(asked) != expected_mask(records, asked)
        assert not (differ & np.array(far)).any()
        assert 0 < columns.mask(asked).sum() < 300


@pytest.mark.parametrize("value", [2**53 + 1, 2**63 - 1, 2**64 - 1, -(2**63) + 1, 10**18 + 7])
def test_integers_that_float64_does_not_hold_compare_exactly(value):
    numbers = [value - 1, value, value + 1] if value < 2**64 - 1 else [value - 1, value]
    records = [(str(n), "", "", orjson.dumps({"n": n})) for n in numbers]
    columns = Columns.of(records)
    chosen = lambda asked: [numbers[i] for i in np.flatnonzero(columns.mask(asked))]  # noqa: E731
    assert chosen(Equals("n", value)) == [value]
    assert chosen(In("n", tuple(range(value - 40, value)))) == [value - 1]
    assert chosen(Range("n", least=value)) == numbers[1:]
    assert chosen(Range("n", below=value)) == numbers[:1]
    assert chosen(Range("n", above=value - 1, most=value)) == [value]


def test_large_integers_that_float64_holds_compare_exactly_with_those_it_does_not():
    even = [2**53 + 2, 2**53 + 4]
    columns = Columns.of([(str(n), "", "", orjson.dumps({"n": n})) for n in even])
    chosen = lambda asked: [even[i] for i in np.flatnonzero(columns.mask(asked))]  # noqa: E731
    assert chosen(Equals("n", 2**53 + 3)) == []
    assert chosen(Range("n", above=2**53 + 3)) == even[1:]
    assert chosen(Range("n", least=2**53 + 3)) == even[1:]
    assert chosen(Range("n", below=2**53 + 3)) == even[:1]
    assert chosen(Range("n", most=2**53 + 1)) == []
    assert chosen(Range("n", most=2**53 + 3)) == even[:1]
    assert chosen(In("n", tuple(range(2**53, 2**53 + 4)))) == even[:1]


def test_bytes_that_are_no_columns_are_refused():
    data = Columns.of([("1", "", "", b'{"a":1}')]).to_bytes()
    for bad in [
        b"",
        data[:10],
        data[:40],
        data[:-64],
        b"x" + data[1:],
        data[:7] + b"\2" + data[8:],
    ]:
        with pytest.raises(ValueError, match=r"no columns|buffer"):
            Columns.from_bytes(bad)


def test_columns_are_read_from_a_mapped_file(tmp_path):
    records = random_records(random.Random(1), 50)
    file = tmp_path / "columns"
    file.write_bytes(Columns.of(records).to_bytes())
    mapped = np.memmap(file, mode="r")
    columns = Columns.from_bytes(memoryview(mapped))
    assert not differing(columns, records, Exists("a"))
    assert np.shares_memory(columns.tables[0].fields["$id"].vocabulary.blob, mapped)


def test_no_rows_have_empty_masks():
    for columns in [
        Columns.empty(),
        Columns.of([]),
        Columns.joined([]),
        ColumnsGrower().append([]),
    ]:
        assert columns.mask(Not(Equals("a", 1))).shape == (0,)
        assert columns.tenant_mask("x") is None
        assert columns.tenants() == frozenset()
        assert columns.memory_bytes == 0
        assert len(Columns.from_bytes(columns.to_bytes())) == 0
        assert len(columns.part(slice(0, 0))) == 0
    assert len(Columns.of([("1", "", "", b"{}")]).part(np.zeros(1, np.bool_))) == 0


def test_metadata_nested_beyond_reach_are_stored_without_being_indexed():
    nested = b'{"a":' * 200 + b"1" + b"}" * 200
    columns = Columns.of([("1", "", "", nested)])
    assert columns.mask(Exists("a" + ".a" * 15)).all()
    assert len(columns.tables[0].fields) < 20


def test_a_small_item_takes_few_bytes_in_memory():
    records = [
        (f"id{i}", "", "", orjson.dumps({"price": i * 0.5, "colour": "red", "sold": i % 2 == 0}))
        for i in range(5000)
    ]
    assert Columns.of(records).memory_bytes / 5000 < 32

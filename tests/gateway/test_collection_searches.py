"""Searches of collections through real sockets: every option, at both doors."""

import asyncio
import json
import math
import threading

import httpx
import numpy as np
import pytest

from kokeshi import errors
from kokeshi.engines.embedded import EmbeddedEngine
from kokeshi.gateway.client import Client
from kokeshi.gateway.serve import doors
from kokeshi.images import ImagePool
from kokeshi.index import EmbeddedStore
from kokeshi.index.notes import Notes
from kokeshi.service import Service
from kokeshi.service.collections import pace
from kokeshi.service.types import (
    Alias,
    CollectionLimits,
    Examples,
    Failed,
    Image,
    Limits,
    NewItem,
    Stage,
    Tenant,
    Tensor,
)

ITEMS = 40
LIMITS = CollectionLimits(max_examples=6, max_excluded=50, max_stream_searches=2, store_threads=2)


@pytest.fixture
async def service(tiny_repository, tmp_path):
    engine = EmbeddedEngine(tiny_repository, threads=1)
    data = tmp_path / "data"
    made = Service(
        engine,
        ImagePool(1),
        EmbeddedStore(data),
        Limits(),
        notes=Notes(data),
        collection_limits=LIMITS,
    )
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def addresses(service):
    async with doors(service, http="127.0.0.1:0", grpc="127.0.0.1:0", notice_s=0) as opened:
        yield opened


@pytest.fixture
async def ask(addresses):
    def whole(answer):
        return list(answer) if hasattr(answer, "__next__") else answer

    with Client(addresses.grpc, timeout_s=20) as client:
        yield lambda name, *given, **named: asyncio.to_thread(
            lambda: whole(getattr(client, name)(*given, **named))
        )


@pytest.fixture
async def http(addresses):
    async with httpx.AsyncClient(base_url=f"http://{addresses.http}", timeout=20) as client:
        yield client


def at(degrees, third=0.3):
    """A unit vector whose angle in the plane of the first two values says where it lies."""
    angle = math.radians(degrees)
    vector = np.array([math.cos(angle), math.sin(angle), third, 0.1], np.float32)
    return vector / np.linalg.norm(vector)


@pytest.fixture
async def space(service):
    """Items i0, i1, ... at 0, 2, ... degrees, so that i0's neighbours are in that order."""
    space = (await service.create_collection("things", "colours")).space
    items = [
        NewItem(
            f"i{n}",
            Tensor(at(2 * n)),
            {"n": n, "kind": "even" if n % 2 == 0 else "odd", "b": n < 3},
        )
        for n in range(ITEMS)
    ]
    await service.add_items("things", items, space=space)
    return space


def ids(hits):
    return [hit.id for hit in hits]


async def by_rest(http, call="search", **body):
    told = await http.post(f"/v1/collections/things/{call}", json=body)
    assert told.status_code == 200, told.text
    return told.json()


def values(vector):
    return {"tensor": {"values": vector.tolist()}}


async def test_filter_tenant_threshold_and_exclusion_leave_out_what_they_say(ask, http, space):
    query = at(0)
    found = await ask("search", "things", [query], space=space, k=3, filter={"kind": "odd"})
    assert ids(found.results[0]) == ["i1", "i3", "i5"]
    body = {"queries": [values(query)], "space": space, "filter": {"kind": "odd"}, "k": 3}
    told = await by_rest(http, **body)
    assert [hit["id"] for hit in told["results"][0]["hits"]] == ["i1", "i3", "i5"]
    found = await ask("search", "things", [query], space=space, k=3, exclude_ids=["i0", "i2"])
    assert ids(found.results[0]) == ["i1", "i3", "i4"]
    scores = (await ask("search", "things", [query], space=space, k=5)).results[0]
    found = await ask("search", "things", [query], space=space, threshold=scores[3].score - 1e-6)
    assert ids(found.results[0]) == ["i0", "i1", "i2", "i3"]
    found = await ask("search", "things", [query], space=space, threshold=-1.0)
    assert len(found.results[0]) == ITEMS
    found = await ask("search", "things", [query], space=space, tenant="other")
    assert found.results == [[]]


async def test_answers_say_how_they_were_found(ask, http, space):
    found = await ask("search", "things", [at(0)], space=space, mode="exact")
    assert found.exact
    assert not found.proven_exact
    assert (found.route.kind, found.route.first) == ("flat", 4)
    assert found.sequence == (await ask("describe_collection", "things")).sequence
    assert found.recall_estimate is None
    told = await by_rest(http, queries=[values(at(0))], space=space, mode="exact")
    assert told["route"] == {"kind": "flat", "first": 4, "shortlist": 0, "breadth": 0}
    assert "recall_estimate" not in told
    assert told["sequence"] == found.sequence


async def test_a_search_waits_for_the_write_that_it_is_to_see(ask, space):
    written = await ask("add_items", "things", [NewItem("new", Tensor(at(0.1)))], space=space)
    found = await ask(
        "search", "things", [at(0.1)], space=space, k=1, min_sequence=written.sequence
    )
    assert ids(found.results[0]) == ["new"]
    with pytest.raises(errors.UnavailableError):
        await ask("search", "things", [at(0)], space=space, min_sequence=written.sequence + 99)


async def test_queries_are_inputs_items_and_examples_in_that_order(
    ask, http, service, space, make_picture
):
    red = make_picture("red")
    examples = [
        Examples(["i10", "i12"]),
        Examples(["i10"], [Tensor(at(40))]),
        Examples([Image(red)]),
    ]
    found = await ask(
        "search", "things", [red, at(60)], space=space, query_ids=["i5"], examples=examples, k=2
    )
    assert len(found.results) == 6
    alone = await ask("search", "things", [red], k=2)
    assert ids(found.results[0]) == ids(alone.results[0]) == ids(found.results[5])
    assert ids(found.results[1])[0] == "i30"
    assert set(ids(found.results[2])) == {"i4", "i6"}  # not i5 itself
    assert ids(found.results[3])[0] == "i11"  # between its two examples, which are left out
    assert not {"i10", "i12"} & set(ids(found.results[3]))
    liked, disliked = at(20).astype(np.float64), at(40).astype(np.float64)
    expected = await ask(
        "search", "things", [(2 * liked - disliked).astype(np.float32)], space=space, k=3
    )
    assert ids(found.results[4]) == [each for each in ids(expected.results[0]) if each != "i10"][:2]
    body = {
        "space": space,
        "query_ids": ["i5"],
        "examples": [
            {"positive": [{"id": "i10"}, {"id": "i12"}]},
            {"positive": [{"id": "i10"}], "negative": [values(at(40))]},
        ],
        "k": 2,
    }
    told = await by_rest(http, **body)
    by_http = [[hit["id"] for hit in each["hits"]] for each in told["results"]]
    assert by_http == [ids(each) for each in found.results[2:5]]


async def test_all_inputs_of_a_call_are_embedded_in_one_batch(service, space, make_picture):
    batches = []
    original = service._engine.infer

    async def infer(request):
        batches.append(len(next(iter(request.inputs.values()))))
        return await original(request)

    service._engine.infer = infer
    red, blue = Image(make_picture("red")), Image(make_picture("blue"))
    await service.search("things", [red, blue], examples=[Examples([red], [blue]), Examples([red])])
    assert batches == [5]


def watched(service, name, before=lambda: None):
    """Names of the threads that a call of the store ran on."""
    store, threads = service._collections.ground.store, []
    call = getattr(store, name)

    def seen(*given, **named):
        threads.append(threading.current_thread().name)
        before()
        return call(*given, **named)

    setattr(store, name, seen)
    return threads


async def test_quick_searches_by_vectors_are_answered_by_the_thread_that_took_the_call(
    ask, service, space, monkeypatch
):
    monkeypatch.setattr(pace, "QUICK_S", 5.0)
    threads = watched(service, "search")
    await ask("search", "things", [at(0)], space=space, k=1)  # nobody knows yet that it is quick
    for _ in range(3):
        assert ids((await ask("search", "things", [at(2)], space=space, k=1)).results[0]) == ["i1"]
    await ask("search", "things", query_ids=["i1"], k=1)
    await ask("search", "things", [at(2), at(4)], space=space, k=1)
    on_the_door = [name.startswith("kokeshi-grpc") for name in threads]
    assert on_the_door == [False, True, True, True, False, False]


async def test_a_search_that_is_slow_after_all_holds_nobody_up(ask, service, space, monkeypatch):
    monkeypatch.setattr(pace, "QUICK_S", 5.0)
    most = service.collection_limits.store_threads
    await ask("search", "things", [at(0)], space=space, k=1)
    may_end = threading.Event()
    threads = watched(service, "search", before=lambda: may_end.wait(20))
    searches = [
        asyncio.ensure_future(ask("search", "things", [at(n)], space=space, k=1))
        for n in range(2 * most)
    ]
    try:
        async with asyncio.timeout(20):
            while len(threads) < 2 * most:
                await asyncio.sleep(0.01)
        assert sum(name.startswith("kokeshi-grpc") for name in threads) == most
        assert "colours" in [model.name for model in await ask("models")]
    finally:
        may_end.set()
    found = await asyncio.gather(*searches)
    assert [ids(each.results[0]) for each in found][:3] == [["i0"], ["i0"], ["i1"]]


def test_a_quick_search_says_more_of_its_kind_than_a_slow_one():
    seen = pace.Pace()
    assert not seen.is_quick("a")
    seen.saw("a", 0.1)
    assert not seen.is_quick("a")
    seen.saw("a", 0.001)
    assert seen.is_quick("a")
    seen.saw("a", 0.01)
    assert seen.is_quick("a")
    for _ in range(20):
        seen.saw("a", 0.01)
    assert not seen.is_quick("a")
    for kind in range(2 * pace.MOST_KINDS):
        seen.saw(kind, 0.001)
    assert len(seen._seconds) <= pace.MOST_KINDS


async def test_pages_follow_each_other_without_gap_or_repetition(ask, http, space):
    whole = ids((await ask("search", "things", [at(31)], space=space, k=ITEMS)).results[0])
    seen, token = [], ""
    while True:
        found = await ask("search", "things", [at(31)], space=space, k=7, page_token=token)
        seen += ids(found.results[0])
        token = found.next_page_token
        if not token:
            break
    assert seen == whole
    body = {"queries": [values(at(31))], "space": space, "k": 7}
    first = await by_rest(http, **body)
    second = await by_rest(http, **body, page_token=first["next_page_token"])
    assert [hit["id"] for hit in second["results"][0]["hits"]] == whole[7:14]


async def test_a_page_goes_on_when_its_last_hit_is_gone_and_others_came(ask, space):
    first = await ask("search", "things", [at(0)], space=space, k=5)
    await ask("delete_items", "things", ["i4", "i5"])
    await ask("add_items", "things", [NewItem("near", Tensor(at(0.5)))], space=space)
    found = await ask(
        "search", "things", [at(0)], space=space, k=5, page_token=first.next_page_token
    )
    assert ids(found.results[0]) == ["i6", "i7", "i8", "i9", "i10"]


async def test_pages_stay_clear_of_ids_that_are_left_out(ask, space):
    how = {"space": space, "k": 3, "exclude_ids": ["i1", "i4"], "query_ids": ["i0"]}
    first = await ask("search", "things", **how)
    second = await ask("search", "things", **how, page_token=first.next_page_token)
    assert ids(first.results[0]) + ids(second.results[0]) == ["i2", "i3", "i5", "i6", "i7", "i8"]


async def test_groups_are_of_the_best_hits_and_fill_whatever_lies_between(ask, http, space):
    found = await ask("search", "things", [at(0)], space=space, group_by="kind", k=2, group_size=3)
    told = {group.value: ids(group.hits) for group in found.groups[0]}
    assert told == {"even": ["i0", "i2", "i4"], "odd": ["i1", "i3", "i5"]}
    assert [group.value for group in found.groups[0]] == ["even", "odd"]
    assert found.results == []
    answer = await by_rest(
        http, queries=[values(at(0))], space=space, group_by="b", k=2, group_size=2
    )
    groups = answer["results"][0]["groups"]
    assert [(g["value"], [h["id"] for h in g["hits"]]) for g in groups] == [
        (True, ["i0", "i1"]),
        (False, ["i3", "i4"]),
    ]


async def test_a_group_far_behind_a_crowd_is_found(ask, service, space):
    crowd = [NewItem(f"c{n}", Tensor(at(0.01 * n)), {"kind": "crowd"}) for n in range(200)]
    await service.add_items("things", crowd, space=space)
    found = await ask("search", "things", [at(0)], space=space, group_by="kind", k=3, group_size=2)
    told = {group.value: len(group.hits) for group in found.groups[0]}
    assert told == {"crowd": 2, "even": 2, "odd": 2}
    nothing = await ask("search", "things", [at(0)], space=space, group_by="absent")
    assert nothing.groups in ((), [[]])
    assert nothing.results in ([], [[]])


async def test_near_duplicates_are_folded_into_the_best_of_them(ask, http, service, space):
    copies = [NewItem(f"copy{n}", Tensor(at(0.001 * n)), {"n": n}) for n in range(1, 31)]
    await service.add_items("things", copies, space=space)
    found = await ask("search", "things", [at(0)], space=space, k=3, collapse=0.99999)
    assert ids(found.results[0]) == ["i0", "i1", "i2"]
    assert set(found.results[0][0].collapsed_ids) == {f"copy{n}" for n in range(1, 31)}
    assert found.results[0][0].vector is None
    told = await by_rest(http, queries=[values(at(0))], space=space, k=3, collapse=0.99999)
    hits = told["results"][0]["hits"]
    assert [hit["id"] for hit in hits] == ["i0", "i1", "i2"]
    assert len(hits[0]["collapsed_ids"]) == 30
    assert "collapsed_ids" not in hits[1]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"recall_target": 0.9, "mode": "exact"}, "recall_target chooses mode itself"),
        ({"recall_target": 0.9, "budget_ms": 5.0}, "recall_target or budget_ms, got both"),
        ({"recall_target": 1.5}, "above 0 and at most 1, not 1.5"),
        ({"budget_ms": -1.0}, "budget_ms is above 0"),
        ({"budget_ms": 5.0, "breadth": 10}, "budget_ms chooses breadth itself"),
        ({"group_by": "kind", "collapse": 0.9}, "group_by or collapse, got both"),
        ({"group_size": 2}, "a group_size is of group_by"),
        ({"collapse": 1.5}, "a cosine from -1 to 1"),
        ({"page_token": "nonsense"}, "page token of an earlier answer"),
        ({"page_token": "WzEsMl0="}, "page token of an earlier answer"),
        ({"exclude_ids": [str(n) for n in range(51)]}, "leaves out at most 50 ids, not 51"),
        ({"examples": [Examples([], ["i1"])]}, "at least one positive"),
        ({"examples": [Examples(["i1"] * 7)]}, "at most 6 examples, not 7"),
        ({"filter": {"n": {"around": 3}}}, "filter.n"),
        ({"breadth": 0}, "breadth must be in"),
        ({"mode": "two_stage", "shortlist": 0}, "shortlist is from 1 to 1000000, not 0"),
        ({"mode": "two_stage", "shortlist": 2**32 - 1}, "shortlist is from 1 to 1000000, not 42"),
        ({"threshold": float("nan")}, "threshold must be a finite number"),
        ({"k": 10_000, "query_ids": ["i1"] * 10}, "queries times k must not exceed 100000"),
    ],
)
async def test_what_a_search_can_never_be_is_refused(ask, space, how, expected):
    with pytest.raises(errors.InvalidRequestError, match=expected):
        await ask("search", "things", [at(0)], space=space, **how)


async def test_what_is_not_there_or_not_measured_says_so(ask, space):
    with pytest.raises(errors.NotFoundError, match="no item 'none'"):
        await ask("search", "things", query_ids=["none"])
    with pytest.raises(errors.NotFoundError, match="no item 'i1'"):
        await ask("search", "things", query_ids=["i1"], tenant="other")
    with pytest.raises(errors.UnimplementedError, match="budget_ms"):
        await ask("search", "things", query_ids=["i1"], budget_ms=5.0)
    with pytest.raises(errors.InvalidRequestError, match="1 to 256 queries, not 0"):
        await ask("search", "things")
    opposite = Examples([Tensor(at(0)), Tensor(-at(0))])
    with pytest.raises(errors.InvalidRequestError, match="cancel each other"):
        await ask("search", "things", space=space, examples=[opposite])
    found = await ask("search", "things", query_ids=["i1"], recall_target=1.0)
    assert found.exact


async def test_a_page_token_is_of_its_own_search_alone(ask, space):
    first = await ask("search", "things", [at(0)], space=space, k=2)
    for other in ({"filter": {"kind": "odd"}}, {"tenant": "x"}, {"dimension": 3}):
        with pytest.raises(errors.InvalidRequestError, match="that of another search"):
            await ask(
                "search", "things", [at(0)], space=space, page_token=first.next_page_token, **other
            )
    token = first.next_page_token
    with pytest.raises(errors.InvalidRequestError, match="pages are of one query"):
        await ask("search", "things", [at(0), at(1)], space=space, page_token=token)


async def test_measured_dials_are_obeyed(ask, service, space):
    """What chooses the depth is asked with the search's own parameters."""
    from types import SimpleNamespace

    from kokeshi.index import SearchParams

    asked = []

    class Dials:
        def choose(self, name, params, *, recall_target=None, budget_ms=None):
            asked.append((name, params.k, params.tenant, recall_target, budget_ms))
            return SimpleNamespace(params=SearchParams(rerank=True, dimension=2, shortlist=5))

    service._collections.searching._dials = Dials()
    found = await ask("search", "things", query_ids=["i1"], k=20, recall_target=0.95)
    await ask("search", "things", query_ids=["i1"], k=3, budget_ms=2.0)
    assert asked == [("things", 20, "", 0.95, None), ("things", 3, "", None, 2.0)]
    assert len(found.results[0]) == 20  # a shortlist is never below what is asked for


async def test_a_store_that_measures_itself_chooses_and_tells_its_recall(tiny_repository, tmp_path):
    from kokeshi.index.batching import Batched
    from kokeshi.index.recall import Measured

    store = Measured(Batched(EmbeddedStore(tmp_path / "measured")))
    engine = EmbeddedEngine(tiny_repository, threads=1)
    service = Service(engine, ImagePool(1), store, Limits(), dials=store)
    await service.start()
    try:
        space = (await service.create_collection("things", "colours")).space
        items = [NewItem(f"i{n}", Tensor(at(2 * n))) for n in range(ITEMS)]
        await service.add_items("things", items, space=space)
        for how in ({"recall_target": 0.9}, {"budget_ms": 1000.0}):
            found = await service.search("things", [Tensor(at(0))], space=space, k=3, **how)
            assert ids(found.results[0]) == ["i0", "i1", "i2"]
            assert found.recall_estimate.value == 1.0
    finally:
        await service.close()


async def test_a_stream_of_searches_answers_each_and_stops_for_none(ask, http, space):
    searches = [
        (n, [at(2 * n)] if n != 3 else [b"no picture"], {"k": 1, "space": space}) for n in range(8)
    ]
    told = dict(await ask("search_stream", "things", searches))
    assert set(told) == set(range(8))
    assert isinstance(told[3], Failed)
    assert told[3].code == "INVALID_ARGUMENT"
    for n in set(range(8)) - {3}:
        assert ids(told[n].results[0]) == [f"i{n}"]
    lines = [
        json.dumps({"id": n, "queries": [values(at(2 * n))], "space": space, "k": 1})
        for n in range(4)
    ]
    lines.append(json.dumps({"id": 9, "query_ids": ["none"]}))
    answer = await http.post(
        "/v1/collections/things/search:stream",
        content="\n".join(lines).encode(),
        headers={"content-type": "application/x-ndjson"},
    )
    by_id = {told["id"]: told for told in map(json.loads, answer.text.splitlines())}
    assert by_id.pop(9)["error"]["code"] == "NOT_FOUND"
    for n, each in by_id.items():
        assert each["answer"]["results"][0]["hits"][0]["id"] == f"i{n}"


async def test_a_line_that_cannot_be_read_ends_a_stream_after_the_answers_before_it(http, space):
    lines = [
        json.dumps({"id": n, "queries": [values(at(2 * n))], "space": space, "k": 1})
        for n in range(2)
    ]
    answer = await http.post(
        "/v1/collections/things/search:stream",
        content="\n".join([*lines, "{", *lines]).encode(),
        headers={"content-type": "application/x-ndjson"},
    )
    *told, last = map(json.loads, answer.text.splitlines())
    found = {each["id"]: each["answer"]["results"][0]["hits"][0]["id"] for each in told}
    assert found == {0: "i0", 1: "i1"}
    assert last["error"]["code"] == "INVALID_ARGUMENT"
    assert last["error"]["message"].startswith("line 3: the body is not valid JSON")


async def test_no_more_searches_of_a_stream_run_than_may(service, space):
    from kokeshi.gateway.streaming import Asked, answer_each

    running = worst = 0

    async def search():
        nonlocal running, worst
        running += 1
        worst = max(worst, running)
        await asyncio.sleep(0.01)
        running -= 1
        return await service.search("things", query_ids=["i1"], k=1)

    async def asked():
        for n in range(7):
            yield Asked(n, search)

    told = [each.id async for each in answer_each(asked(), 2)]
    assert sorted(told) == list(range(7))
    assert worst == 2


async def explained(ask, item_id, **how):
    return await ask("explain", "things", item_id, **how)


async def test_explain_says_at_which_stage_an_item_left(ask, space):
    await ask("add_items", "things", [NewItem("theirs", Tensor(at(0)))], space=space, tenant="t")
    cases = {
        Stage.FOUND: ("i2", {}),
        Stage.NOT_STORED: ("none", {}),
        Stage.FILTER: ("i1", {"filter": {"kind": "even"}}),
        Stage.EXCLUDED: ("i1", {"exclude_ids": ["i1"]}),
        Stage.THRESHOLD: ("i9", {"threshold": 0.9999}),
        Stage.BELOW_K: ("i9", {}),
    }
    for stage, (item_id, how) in cases.items():
        told = await explained(ask, item_id, queries=[at(0)], space=space, k=3, **how)
        assert told.stage is stage, item_id
        assert (told.rank == 3) if stage is Stage.FOUND else told.rank is None
    # whether another tenant has it is not told
    told = await explained(ask, "theirs", queries=[at(0)], space=space)
    assert (told.stage, told.dimensions) == (Stage.NOT_STORED, [])


async def test_explain_ranks_and_scores_as_searches_do(ask, http, space):
    told = await explained(ask, "i9", queries=[at(0)], space=space, k=3)
    assert [each.dimension for each in told.dimensions] == [2, 3, 4]
    for each in told.dimensions:
        found = await ask(
            "search",
            "things",
            [at(0)],
            space=space,
            dimension=each.dimension,
            mode="exact",
            k=ITEMS,
        )
        (place,) = [i for i, hit in enumerate(found.results[0]) if hit.id == "i9"]
        assert each.rank == place + 1
        assert each.score == pytest.approx(found.results[0][place].score, abs=1e-6)
    assert [(block.begin, block.end) for block in told.blocks] == [(0, 2), (2, 3), (3, 4)]
    total = sum(block.contribution for block in told.blocks)
    assert total == pytest.approx(told.dimensions[-1].score, abs=1e-6)
    answer = await by_rest(http, "explain", id="i9", queries=[values(at(0))], space=space, k=3)
    assert answer["stage"] == "below_k"
    assert answer["dimensions"][-1]["rank"] == 10


async def test_an_item_that_the_shortlist_missed_is_told_so(ask, service, space):
    """Its prefix looks elsewhere, its whole vector is the query's nearest but one."""
    query = np.array([0.1, 0, 0.99, 0], np.float32)
    hidden = np.array([-0.1, 0, 0.99, 0], np.float32)
    await ask("add_items", "things", [NewItem("hidden", Tensor(hidden))], space=space)
    how = {"queries": [query], "space": space, "k": 2, "mode": "two_stage", "dimension": 2}
    told = await explained(ask, "hidden", **how, shortlist=4)
    assert told.stage is Stage.SHORTLIST
    by_length = {each.dimension: each.rank for each in told.dimensions}
    assert by_length[2] == ITEMS + 1
    assert by_length[4] == 1
    assert told.route.shortlist == 4


async def test_an_explanation_is_of_one_plain_query(ask, space):
    with pytest.raises(errors.InvalidRequestError, match="exactly one query"):
        await explained(ask, "i1", queries=[at(0), at(1)], space=space)
    with pytest.raises(errors.InvalidRequestError, match="plain hits"):
        await explained(ask, "i1", queries=[at(0)], space=space, group_by="kind")


async def test_every_call_takes_an_alias(ask, http, space):
    told = await ask("set_aliases", [Alias("current", "things")])
    assert told == [Alias("current", "things")]
    found = await ask("search", "current", [at(0)], space=space, k=1)
    assert ids(found.results[0]) == ["i0"]
    await ask("add_items", "current", [NewItem("x", Tensor(at(0)))], space=space)
    (ingested,) = await ask("ingest", "current", [(0, [NewItem("y", Tensor(at(0)))])], space=space)
    assert ingested.count == 1
    assert await ask("count_items", "current") == ITEMS + 2
    assert await ask("list_tenants", "current") == [Tenant("", ITEMS + 2)]
    assert (await ask("get_items", "current", ["x"]))[0].id == "x"
    assert (await ask("list_items", "current", page_size=1)).items[0].id == "i0"
    assert (await ask("explain", "current", "x", query_ids=["i0"])).stage is Stage.FOUND
    assert (await ask("delete_items", "current", ["x", "y"])).count == 2
    assert (await ask("describe_collection", "current")).name == "things"
    listed = await http.get("/v1/aliases", params={"collection": "things"})
    assert listed.json() == {"aliases": [{"name": "current", "collection": "things"}]}
    assert (await http.delete("/v1/aliases/current")).json() == {}
    with pytest.raises(errors.NotFoundError, match="no collection 'current'"):
        await ask("search", "current", [at(0)], space=space)


async def test_aliases_move_together_while_searches_go_on(ask, http, service, space):
    await service.create_collection("other", "colours")
    await ask("set_aliases", [Alias("live", "things"), Alias("next", "other")])
    swapped = {
        "aliases": [
            {"name": "live", "collection": "other"},
            {"name": "next", "collection": "things"},
        ]
    }
    assert (await http.post("/v1/aliases", json=swapped)).status_code == 200
    assert (await ask("search", "live", [at(0)], space=space)).results == [[]]
    assert await ask("list_aliases") == [Alias("live", "other"), Alias("next", "things")]


async def test_an_alias_never_hides_a_collection_nor_outlives_it(ask, service, space):
    with pytest.raises(errors.AlreadyExistsError, match="'things' is a collection"):
        await ask("set_aliases", [Alias("things", "things")])
    with pytest.raises(errors.NotFoundError, match="no collection 'none'"):
        await ask("set_aliases", [Alias("a", "things"), Alias("b", "none")])
    assert await ask("list_aliases") == []
    with pytest.raises(errors.InvalidRequestError, match="an alias comes twice"):
        await ask("set_aliases", [Alias("a", "things"), Alias("a", "things")])
    with pytest.raises(errors.InvalidRequestError, match="at least one alias"):
        await ask("set_aliases", [])
    with pytest.raises(errors.NotFoundError, match="no alias 'a'"):
        await ask("delete_alias", "a")
    await ask("set_aliases", [Alias("a", "things")])
    with pytest.raises(errors.AlreadyExistsError, match="'a' is an alias"):
        await ask("create_collection", "a", "colours")
    with pytest.raises(errors.InvalidRequestError, match="delete collection 'things' by its own"):
        await ask("delete_collection", "a")
    await ask("delete_collection", "things")
    assert await ask("list_aliases") == []


async def test_a_search_over_http_takes_its_options_from_a_form(http, space, make_picture):
    told = await http.post(
        "/v1/collections/things/search",
        files={"image": ("red.png", make_picture("red"))},
        data={"k": "2", "exclude_ids": ["i0"], "threshold": "0.5"},
    )
    assert told.status_code == 200, told.text
    hits = told.json()["results"][0]["hits"]
    assert len(hits) == 2
    assert "i0" not in [hit["id"] for hit in hits]

"""A plugin of a third party is reached as the built-in ones; long work is bounded."""

import asyncio
import threading

import pytest
from pydantic import BaseModel

from kokeshi.errors import DeadlineError, InvalidRequestError, OverloadedError, UnimplementedError
from kokeshi.plugin import Paper, Retriever
from kokeshi.registry import Registry
from kokeshi.service.inputs import Image
from kokeshi.service.retrieval import Retrieval
from kokeshi.service.retrieval.jobs import Jobs
from kokeshi.service.retrieval.records import Defaults, FitOptions, Question

PAPER = Paper("Nearest", "Nobody", 2020, "https://example.org")


class Most(BaseModel):
    """How many items there were."""

    count: int


NEAREST = Retriever(
    name="their_own",
    paper=PAPER,
    licence="MIT",
    answer=lambda neighbours, settings, model: {
        "label": neighbours.metadata[0][settings["field"]],
        "share": 1.0,
        "shares": {},
        "voters": model.count,
    },
    fit=lambda sample, settings: Most(count=len(sample.vectors)),
    model=Most,
    defaults={"field": "label"},
)


@pytest.fixture
def theirs(doors):
    """The calls over a registry that holds their plugin alone."""
    ground = doors.service._collections.ground
    ours = ground.crossing
    made = Retrieval(ground, Registry.of([("theirs", NEAREST)]), None, Defaults(vote="their_own"))
    yield made
    doors.run(made.close())
    ground.crossing = ours


def test_a_plugin_of_a_third_party_is_fitted_asked_and_typed(doors, theirs):
    assert [each.distribution for each in theirs.plugins()] == ["theirs"]
    doors.run(theirs.fit("digits", "their_own", FitOptions(items=50)))
    digit = doors.queries[0]
    told = doors.run(theirs.vote("digits", Question(Image(digit.data))))
    assert (told.label, told.voters, told.retriever) == (digit.label, 50, "their_own")
    with pytest.raises(InvalidRequestError, match="does not answer this call: its 'is_known'"):
        doors.run(theirs.recognise("digits", Question(Image(digit.data), "their_own")))


def test_without_notes_nothing_is_kept(doors, theirs):
    ground = doors.service._collections.ground
    notes, ground.notes = ground.notes, None
    try:
        bare = Retrieval(ground, Registry.of([("theirs", NEAREST)]))
        with pytest.raises(UnimplementedError, match="has no notes"):
            doors.run(bare.fit("digits", "their_own", FitOptions(items=50)))
        doors.run(bare.start())
        doors.run(bare.close())
    finally:
        ground.notes = notes


async def test_work_beyond_the_bound_is_refused_and_room_comes_back():
    jobs, gate = Jobs(2, longest_s=600), threading.Event()
    running = [asyncio.create_task(jobs.run(gate.wait, None)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="2 fits and diagnoses are under way"):
        await jobs.run(gate.wait, None)
    gate.set()
    assert await asyncio.gather(*running) == [True, True]
    assert await jobs.run(lambda: 3, None) == 3
    jobs.close()


async def test_work_that_takes_too_long_keeps_its_place_until_it_ends():
    jobs, gate = Jobs(1, longest_s=600), threading.Event()
    with pytest.raises(DeadlineError):
        await jobs.run(gate.wait, 0.01)
    with pytest.raises(OverloadedError):
        await jobs.run(gate.wait, None)
    gate.set()
    for _ in range(200):
        await asyncio.sleep(0.005)
        if not jobs._under_way:
            break
    assert await jobs.run(lambda: 3, None) == 3
    jobs.close()

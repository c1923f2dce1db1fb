"""Whatever is done to a queue, in any order, it holds what it should and says how much that is."""

import random

import pytest

from kokeshi.engines.entries import Entry
from kokeshi.engines.policy import Policy, QueueRules
from kokeshi.engines.queues import Waiting

STEPS = 4000
POLICIES = {
    "one level": Policy(max_rows=8, merge=True),
    "in order": Policy(max_rows=8, merge=True, preserve_ordering=True),
    "preferred": Policy(max_rows=8, merge=True, preferred_rows=(3, 6)),
    "levels": Policy(max_rows=8, merge=True, priority_levels=5, rules=QueueRules(timeout_s=1)),
}


class Queue:
    """A queue, and what ought to be in it."""

    def __init__(self, name):
        self.dice = random.Random(name)
        self.policy = POLICIES[name]
        self.waiting = Waiting(self.policy)
        self.inside, self.outside = [], []
        self.now_ns = 1

    def push(self):
        dice = self.dice
        entry = Entry({}, dice.randint(1, 4), self.now_ns)
        entry.level = dice.randint(0, self.policy.priority_levels)
        entry.shapes = {"x": (dice.randint(1, 2),)}
        if dice.random() < 0.5:
            entry.limit_ns = self.now_ns + dice.randint(1, 60)
            entry.hard_ns = dice.choice((0, entry.limit_ns, entry.limit_ns + 40))
        self.waiting.push(entry)
        self.inside.append(entry)

    def take(self, entry):
        self.inside.remove(entry)
        self.outside.append(entry)

    def drop_late(self):
        """What is past its time may leave the queue whenever it is looked through."""
        for entry in [each for each in self.inside if 0 < each.hard_ns <= self.now_ns]:
            self.waiting.remove(entry)
            self.take(entry)

    def pop(self):
        entry = self.waiting.pop(self.now_ns)
        if entry is not None:
            self.take(entry)
            assert not 0 < entry.hard_ns <= self.now_ns
        return entry

    def fill(self):
        first = self.pop()
        if first is None:
            return
        late, patient = self.dice.random() < 0.5, self.dice.random() < 0.5
        batch, lacking = self.waiting.fill(first, self.now_ns, late=late, patient=patient)
        assert bool(batch) != bool(lacking)
        assert sum(each.rows for each in batch) <= self.policy.max_rows
        assert all(each.shapes == first.shapes for each in batch)
        for entry in batch[1:]:
            self.take(entry)

    def remove(self):
        """Twice, and what is there no more, as callers who leave do."""
        everybody = self.inside + self.outside[-20:]
        if everybody:
            entry = self.dice.choice(everybody)
            self.waiting.remove(entry)
            self.waiting.remove(entry)
            if entry in self.inside:
                self.take(entry)

    def step(self):
        self.now_ns += self.dice.randint(0, 5)
        kinds = (self.push, self.pop, self.fill, self.remove)
        self.dice.choices(kinds, (6, 1, 2, 2))[0]()
        self.drop_late()

    def check(self):
        levels = self.waiting._levels
        held = [each for level in levels.values() for each in (*level.queue, *level.delayed)]
        assert len(held) == len(self.waiting) == len(self.inside)
        assert set(map(id, held)) == set(map(id, self.inside))
        assert sorted(levels) == self.waiting._order
        for number, level in levels.items():
            rows = sum(each.rows for each in (*level.queue, *level.delayed))
            assert level.rows == rows
            assert len(level) or not self.policy.priority_levels
            assert all(each.level == number for each in (*level.queue, *level.delayed))


@pytest.mark.parametrize("name", POLICIES)
def test_a_queue_holds_what_was_put_in_and_not_taken_out(name):
    queue = Queue(name)
    for _ in range(STEPS):
        queue.step()
        queue.check()
    while queue.pop() is not None:
        queue.drop_late()
    queue.drop_late()
    queue.check()
    assert len(queue.waiting) == 0
    assert len(queue.outside) > STEPS / 4

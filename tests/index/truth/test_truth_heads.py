"""Heads of rows that are kept in memory: right, and no more of them than may be."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kokeshi.index.heads import HEAD_BYTES, Heads


def test_what_was_read_once_is_told_again_without_the_database(home):
    faces = home.create()
    rows = home.put(faces, range(5)).rows
    heads = Heads(home.truth, 2**20)
    first = heads.by_rows(faces, rows[:3])
    assert first == home.truth.heads_by_rows(faces, rows[:3])
    home.delete(faces, range(5))
    # a snapshot from before the delete still finds them; what was never read is gone
    assert heads.by_rows(faces, rows) == first
    assert heads.by_rows(faces, rows[3:]) == {}


def test_a_row_of_another_collection_is_not_told(home):
    faces, other = home.create(), home.create("other")
    mine, foreign = home.put(faces, [1]).rows, home.put(other, [1]).rows
    heads = Heads(home.truth, 2**20)
    assert sorted(heads.by_rows(faces, np.concatenate([mine, foreign]))) == mine.tolist()


def test_what_nobody_asks_for_is_forgotten(home):
    faces = home.create()
    rows = home.put(faces, range(200)).rows
    heads = Heads(home.truth, 20 * HEAD_BYTES)
    wanted, rest = rows[:4], rows[4:]
    for start in range(0, len(rest), 4):
        assert len(heads.by_rows(faces, rest[start : start + 4])) == 4
        assert len(heads.by_rows(faces, wanted)) == 4
    home.delete(faces, range(200))
    assert len(heads.by_rows(faces, wanted)) == 4
    assert len(heads.by_rows(faces, rest)) < 20


def test_threads_that_ask_together_are_all_told_the_truth(home):
    faces = home.create()
    rows = home.put(faces, range(300)).rows
    heads = Heads(home.truth, 50 * HEAD_BYTES)

    def ask(seed):
        random = np.random.default_rng(seed)
        for _ in range(100):
            wanted = random.choice(rows, 10, replace=False)
            found = heads.by_rows(faces, wanted)
            assert sorted(found) == sorted(wanted.tolist())
            assert all(found[row].row == row for row in found)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4)))

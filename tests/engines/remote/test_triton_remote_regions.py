"""Shared memory is used again, given up safely, and never left behind."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from kokeshi.engines.triton import regions as module
from kokeshi.engines.triton.regions import (
    FOLDER,
    PREFIX,
    SMALLEST_BYTES,
    Region,
    Regions,
    clean_leftovers,
    size_of,
)


def _files():
    return {path.name for path in FOLDER.glob(f"{PREFIX}{os.getpid()}_*")}


@pytest.fixture(autouse=True)
def nothing_left():
    before = _files()
    yield
    assert _files() == before


@pytest.fixture
def pool():
    made = Regions(max_bytes=4 * SMALLEST_BYTES)
    yield made
    made.forget()


def _made(pool, size=SMALLEST_BYTES):
    region = pool.make(size)
    pool.add(region)
    return region


def test_what_is_written_is_read_back():
    region = Region(SMALLEST_BYTES)
    tensor = np.arange(12, dtype=np.float32).reshape(3, 4).T
    region.write(64, tensor)
    read = np.frombuffer(region.read(64, tensor.nbytes), np.float32).reshape(tensor.shape)
    region.free()
    np.testing.assert_array_equal(read, tensor)


def test_a_region_is_used_again_the_youngest_first(pool):
    first, second = _made(pool), _made(pool)
    assert pool.take(10) is second
    assert pool.take(10) is first
    assert pool.take(10) is None
    assert pool.wanted() == [SMALLEST_BYTES]
    assert pool.wanted() == []
    pool.give(first)
    assert pool.take(SMALLEST_BYTES) is first
    pool.give(first)
    pool.give(second)


@pytest.mark.parametrize(
    ("nbytes", "size"),
    [(1, SMALLEST_BYTES), (SMALLEST_BYTES, SMALLEST_BYTES), (SMALLEST_BYTES + 1, 131_072)],
)
def test_sizes_are_powers_of_two(nbytes, size):
    assert size_of(nbytes) == size


def test_what_is_larger_than_all_of_it_is_not_wanted(pool):
    assert pool.take(5 * SMALLEST_BYTES) is None
    assert pool.wanted() == []


def test_a_region_given_up_is_not_used_again_before_the_server_lets_go(pool, monkeypatch):
    region = _made(pool)
    assert pool.take(1) is region
    pool.lose(region)
    assert region.name not in _files()
    assert pool.take(1) is None
    assert pool.due() == []
    monkeypatch.setattr(module, "LOST_REST_S", 0.0)
    assert pool.due() == [region]
    pool.again(region)
    assert pool.due() == [region]
    pool.discard(region)


def test_idle_regions_of_another_size_make_room(pool):
    small = [_made(pool) for _ in range(4)]
    assert pool.make(2 * SMALLEST_BYTES) is None
    assert pool.wanted() == [2 * SMALLEST_BYTES]
    for region in pool.due():
        assert region in small
        pool.discard(region)
    large = _made(pool, 2 * SMALLEST_BYTES)
    assert pool.take(2 * SMALLEST_BYTES) is large
    pool.give(large)


def test_after_a_restart_of_the_server_nothing_old_is_used(pool):
    idle, used, lost = _made(pool), _made(pool), _made(pool)
    assert pool.take(1) is lost
    assert pool.take(1) is used
    pool.lose(lost)
    pool.forget()
    assert not pool.knows(used)
    assert not _files() & {idle.name, used.name, lost.name}
    pool.give(used)
    assert pool.take(1) is None
    fresh = [_made(pool) for _ in range(4)]  # all of the room is there again
    assert len(set(fresh)) == 4


def test_memory_that_the_machine_does_not_have_is_not_taken(pool):
    free = os.statvfs(FOLDER)
    pool = Regions(max_bytes=1 << 62)
    with pytest.raises(OSError, match=r"space|large"):
        pool.make(1 << (free.f_blocks * free.f_bsize).bit_length())


def test_what_a_dead_process_left_is_removed_and_what_a_living_one_has_is_not():
    code = (
        "import sys, time\n"
        "from kokeshi.engines.triton.regions import Region\n"
        "region = Region(65536)\n"
        "print(region.name, flush=True)\n"
        "time.sleep(60)\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    names = [process.stdout.readline().strip() for process in processes]
    processes[0].kill()
    processes[0].wait()
    old_s = time.time() - 3600
    for name in names:
        os.utime(FOLDER / name, (old_s, old_s))
    try:
        assert clean_leftovers() >= 1
        assert not (FOLDER / names[0]).exists()
        assert (FOLDER / names[1]).exists()
    finally:
        processes[1].kill()
        processes[1].wait()
        for process, name in zip(processes, names, strict=True):
            process.stdout.close()
            (FOLDER / name).unlink(missing_ok=True)

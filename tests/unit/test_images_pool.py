"""The pool of decoding threads: bounded, cancellable, and out of the event loop's way."""

import asyncio
import io
import os
import time

import numpy as np
import pytest
from PIL import Image

from kokeshi.contract import ImageInput
from kokeshi.errors import InvalidImageError, OverloadedError, TooLargeError, UnavailableError
from kokeshi.images import ImagePool, Limits, preprocess

CONTRACT = ImageInput(height=32, width=32)


def jpeg(height: int, width: int) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


SMALL = jpeg(60, 80)
SLOW = jpeg(2400, 3200)  # tens of milliseconds


@pytest.fixture
def make_pool():
    pools = []

    def make(**settings: object) -> ImagePool:
        pools.append(ImagePool(**settings))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


async def started(pool: ImagePool, *tasks: asyncio.Task[object]) -> None:
    """Wait until the one worker is busy and the rest of the tasks wait."""
    while pool.queue_depth != len(tasks) - 1:
        await asyncio.sleep(0)


async def test_a_picture_is_prepared_as_outside_the_pool(make_pool):
    prepared = await make_pool().prepare(SMALL, CONTRACT)
    assert np.array_equal(prepared.pixels, preprocess(SMALL, CONTRACT).pixels)


async def test_a_batch_comes_back_in_order(make_pool):
    other = ImageInput(height=16, width=24)
    prepared = await make_pool().prepare_many([(SLOW, CONTRACT), (SMALL, other), (SMALL, CONTRACT)])
    assert [item.original_size for item in prepared] == [(2400, 3200), (60, 80), (60, 80)]
    assert [item.pixels.shape[:2] for item in prepared] == [(32, 32), (16, 24), (32, 32)]
    assert await make_pool().prepare_many([]) == []


async def test_errors_reach_the_caller_and_a_batch_says_which(make_pool):
    pool = make_pool()
    with pytest.raises(InvalidImageError, match=r"^not an image"):
        await pool.prepare(b"text", CONTRACT)
    with pytest.raises(InvalidImageError, match=r"^image 1: not an image"):
        await pool.prepare_many([(SMALL, CONTRACT), (b"text", CONTRACT), (b"text", CONTRACT)])
    assert pool.queue_depth == 0


async def test_a_full_queue_refuses_with_a_delay_and_recovers(make_pool):
    pool = make_pool(workers=1, max_pending=2)
    tasks = [asyncio.create_task(pool.prepare(SLOW, CONTRACT))]
    await asyncio.sleep(0)
    await started(pool, *tasks)
    tasks += [asyncio.create_task(pool.prepare(SLOW, CONTRACT)) for _ in range(2)]
    await started(pool, *tasks)
    with pytest.raises(OverloadedError, match="2 images wait to be decoded") as caught:
        await pool.prepare(SMALL, CONTRACT)
    assert caught.value.retry_after_s >= 0.05
    with pytest.raises(OverloadedError):
        await pool.prepare_many([(SMALL, CONTRACT), (SMALL, CONTRACT)])
    await asyncio.gather(*tasks)
    assert pool.queue_depth == 0
    await pool.prepare(SMALL, CONTRACT)


async def test_a_batch_that_could_never_fit_is_too_large(make_pool):
    with pytest.raises(TooLargeError, match="3 images came in one request; at most 2"):
        await make_pool(max_pending=2).prepare_many([(SMALL, CONTRACT)] * 3)


async def test_a_cancelled_request_is_not_decoded(make_pool):
    pool = make_pool(workers=1, reduced=False)
    running = asyncio.create_task(pool.prepare(SLOW, CONTRACT))
    waiting = asyncio.create_task(pool.prepare_many([(SLOW, CONTRACT)] * 50))
    while pool.queue_depth != 50:
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0)
    assert pool.queue_depth == 0
    await running
    start_s = time.perf_counter()
    await pool.prepare(SMALL, CONTRACT)
    assert time.perf_counter() - start_s < 1  # fifty slow ones would have stood before it


async def test_the_event_loop_stays_free(make_pool):
    pool = make_pool(workers=1, reduced=False)
    task = asyncio.create_task(pool.prepare_many([(SLOW, CONTRACT)] * 4))
    turns = 0
    while not task.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 20


async def test_the_pools_limits_hold(make_pool):
    with pytest.raises(InvalidImageError, match="at most 100 are accepted"):
        await make_pool(limits=Limits(max_pixels=100)).prepare(SMALL, CONTRACT)


async def test_a_closed_pool_is_unavailable(make_pool):
    pool = make_pool()
    pool.close()
    with pytest.raises(UnavailableError, match="shutting down"):
        await pool.prepare(SMALL, CONTRACT)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no CPU affinity here")
def test_there_is_a_thread_for_each_usable_cpu(make_pool):
    assert make_pool().workers == len(os.sched_getaffinity(0))
    assert make_pool(workers=3).workers == 3

"""The pool of decoding threads: bounded, cancellable, and out of the event loop's way."""

import asyncio
import io
import time

import numpy as np
import pytest
from PIL import Image

from kokeshi.contract import ImageInput
from kokeshi.errors import InvalidImageError, OverloadedError, UnavailableError
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
        pools.append(ImagePool(**{"workers": 2, **settings}))
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


async def test_errors_reach_the_caller(make_pool):
    pool = make_pool()
    with pytest.raises(InvalidImageError, match=r"^not an image"):
        await pool.prepare(b"text", CONTRACT)
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
    await asyncio.gather(*tasks)
    assert pool.queue_depth == 0
    await pool.prepare(SMALL, CONTRACT)


async def test_a_cancelled_request_is_not_decoded(make_pool):
    pool = make_pool(workers=1, reduced=False)
    running = asyncio.create_task(pool.prepare(SLOW, CONTRACT))
    waiting = asyncio.gather(*(pool.prepare(SLOW, CONTRACT) for _ in range(50)))
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
    task = asyncio.gather(*(pool.prepare(SLOW, CONTRACT) for _ in range(4)))
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


async def test_what_encodes_runs_few_at_once_and_not_behind_what_decodes(make_pool):
    pool = make_pool(workers=1, reduced=False)
    decoding = [asyncio.create_task(pool.prepare(SLOW, CONTRACT)) for _ in range(4)]
    running = most = 0

    def encode() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.005)
        running -= 1

    await asyncio.gather(*(pool.encode(encode) for _ in range(4)))
    assert not decoding[-1].done()
    assert most == 1
    await asyncio.gather(*decoding)

"""The response cache: what it keeps, what it forgets, and what it takes for the same request."""

import threading

import numpy as np
import pytest

from kokeshi.engines.cache import ENTRY_BYTES, ResponseCache, key_of


def _outputs(value, count=100):
    return {"y": np.full((1, count), value, np.float32)}


def held(cache, keys):
    return [key for key in keys if cache.get(key) is not None]


def test_what_was_put_is_got():
    cache = ResponseCache(1 << 20)
    assert cache.get(b"a") is None
    cache.put(b"a", _outputs(3))
    np.testing.assert_array_equal(cache.get(b"a")["y"], _outputs(3)["y"])


def test_answers_cannot_be_written_to():
    cache = ResponseCache(1 << 20)
    outputs = _outputs(3)
    cache.put(b"a", outputs)
    outputs["y"][:] = 4
    answer = cache.get(b"a")
    assert (answer["y"] == 3).all()
    with pytest.raises(ValueError, match="read-only"):
        answer["y"][:] = 5
    answer.clear()
    assert cache.get(b"a")


def test_the_view_of_a_batch_does_not_keep_the_batch():
    cache = ResponseCache(1 << 20)
    batch = np.zeros((1000, 100), np.float32)
    cache.put(b"a", {"y": batch[3:4]})
    assert cache.get(b"a")["y"].base is None


def test_what_was_used_longest_ago_makes_room():
    cache = ResponseCache(3 * (400 + ENTRY_BYTES))
    for key in (b"a", b"b", b"c"):
        cache.put(key, _outputs(1))
    cache.get(b"a")
    cache.put(b"d", _outputs(1))
    assert held(cache, (b"a", b"b", b"c", b"d")) == [b"a", b"c", b"d"]


def test_an_answer_takes_its_bytes_and_what_it_takes_to_keep_it():
    fits, too_small = ResponseCache(400 + ENTRY_BYTES), ResponseCache(399 + ENTRY_BYTES)
    for cache in (fits, too_small):
        cache.put(b"a", _outputs(1))
    assert fits.get(b"a") is not None
    assert too_small.get(b"a") is None


def test_what_is_put_again_is_counted_once():
    cache = ResponseCache(2 * (400 + ENTRY_BYTES))
    cache.put(b"a", _outputs(1, 100))
    cache.put(b"b", _outputs(1, 100))
    cache.put(b"a", _outputs(2, 100))
    assert held(cache, (b"a", b"b")) == [b"a", b"b"]
    assert (cache.get(b"a")["y"] == 2).all()


def test_an_answer_larger_than_the_cache_drives_nothing_out():
    cache = ResponseCache(2 * ENTRY_BYTES)
    cache.put(b"a", _outputs(1, 10))
    cache.put(b"b", _outputs(1, 1000))
    assert cache.get(b"b") is None
    assert cache.get(b"a")


def test_bytes_count_with_their_lengths():
    outputs = {"y": np.array([b"x" * 1000, b"y"], object)}
    size_bytes = ENTRY_BYTES + 16 + 1001
    fits, too_small = ResponseCache(size_bytes), ResponseCache(size_bytes - 1)
    for cache in (fits, too_small):
        cache.put(b"a", outputs)
    assert fits.get(b"a")["y"].tolist() == [b"x" * 1000, b"y"]
    assert too_small.get(b"a") is None


def test_threads_get_what_was_put_and_the_bound_holds():
    cache = ResponseCache(20 * (400 + ENTRY_BYTES))
    wrong = []

    def work(seed):
        generator = np.random.default_rng(seed)
        for value in generator.integers(0, 60, 500):
            key = bytes([value])
            answer = cache.get(key)
            if answer is None:
                cache.put(key, _outputs(value))
            elif (answer["y"] != value).any():
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(held(cache, [bytes([value]) for value in range(60)])) == 20


BASE = {"x": np.arange(6, dtype=np.int32).reshape(1, 6)}


def test_equal_requests_have_one_key():
    apart = {"x": np.arange(12, dtype=np.int32)[::2].reshape(1, 6) // 2}
    assert key_of("f", BASE, ()) == key_of("f", apart, ())
    swapped = {"b": BASE["x"], "a": BASE["x"]}
    assert key_of("f", swapped, ()) == key_of("f", dict(reversed(swapped.items())), ())


@pytest.mark.parametrize(
    "other",
    [
        ("g", BASE, ()),
        ("f", BASE, ("y",)),
        ("f", {"z": BASE["x"]}, ()),
        ("f", {"x": BASE["x"] + 1}, ()),
        ("f", {"x": BASE["x"].reshape(2, 3)}, ()),
        ("f", {"x": BASE["x"].view(np.float32)}, ()),
        ("f", {"x": np.array([b"ab", b"c"], object)}, ()),
        ("f", {}, ()),
    ],
)
def test_requests_that_differ_have_keys_that_differ(other):
    assert key_of("f", BASE, ()) != key_of(*other)


def test_texts_are_told_apart_by_where_they_end():
    one, other = ({"x": np.array(texts, object)} for texts in ([b"ab", b"c"], [b"a", b"bc"]))
    assert key_of("f", one, ()) != key_of("f", other, ())
    assert key_of("f", BASE, ("ab", "c")) != key_of("f", BASE, ("a", "bc"))
    assert key_of("f", BASE, ("y", "z")) != key_of("f", BASE, ("z", "y"))

"""Threads that share a model: who runs what, in which order, and who is refused."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kokeshi import metrics
from kokeshi.engines.config import DynamicBatching, InstanceGroup, ModelConfig, QueuePolicy
from kokeshi.engines.policy import MAX_QUEUE_REQUESTS, Policy, QueueRules, policy_from
from kokeshi.engines.scheduler import Scheduler
from kokeshi.engines.statistics import Failure
from kokeshi.errors import (
    CancelledError,
    DeadlineError,
    InferenceError,
    OverloadedError,
    UnavailableError,
)


class Doubler:
    """Doubles its rows; holds every batch until `gate` opens, and remembers what it was given."""

    def __init__(self):
        self.batches = []
        self.threads = []
        self.gate = threading.Event()
        self.gate.set()
        self.error = None
        self.begun = 0
        self.takes_s = 0.0

    def __call__(self, inputs):
        self.begun += 1
        time.sleep(self.takes_s)
        assert self.gate.wait(5)
        (rows,) = inputs.values()
        self.batches.append(rows[:, 0].tolist())
        self.threads.append(threading.get_ident())
        if self.error is not None:
            raise self.error
        if (rows < 0).any():
            raise ValueError("a secret of the graph")
        return {"y": rows * 2}


class Nobody(ThreadPoolExecutor):
    """Threads that are not to be asked."""

    def submit(self, function, /, *args, **kwargs):
        raise AssertionError("a thread was asked to lead")


@pytest.fixture
def doubler():
    return Doubler()


@pytest.fixture
def ask(doubler):
    """Asks on a thread of its own: returns the future of the answer."""
    with ThreadPoolExecutor(40) as callers:

        def on_a_thread(scheduler, *values, columns=1, **limits):
            rows = np.repeat(np.array(values, np.float32)[:, None], columns, axis=1)

            def answer():
                return scheduler.submit_now({"x": rows}, len(rows), **limits)["y"][:, 0].tolist()

            return callers.submit(answer)

        yield on_a_thread
        doubler.gate.set()


def _scheduler(run, executor=None, **policy):
    return Scheduler("doubler", 1, run, Policy(**policy), executor or Nobody())


def _until(condition):
    deadline_s = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.001)


def _queue(scheduler, doubler, ask, *requests):
    """Holds one request, and has the others wait behind it in their order."""
    begun = doubler.begun
    doubler.gate.clear()
    asked = [ask(scheduler, 0.0)]
    _until(lambda: doubler.begun > begun)
    for number, (values, limits) in enumerate(requests, 1):
        asked.append(ask(scheduler, *values, **limits))
        _until(lambda number=number: scheduler.pending == number)
    return asked


def _answers(doubler, asked):
    doubler.gate.set()
    return [future.result(5) for future in asked]


def test_a_request_that_meets_no_other_runs_on_the_thread_that_asks(doubler):
    answer = _scheduler(doubler).submit_now({"x": np.ones((1, 1), np.float32)}, 1)
    assert answer["y"].tolist() == [[2]]
    assert doubler.threads == [threading.get_ident()]


def test_waiting_threads_lead_for_one_another(doubler, ask):
    scheduler = _scheduler(doubler, max_rows=8, merge=True)
    asked = _queue(scheduler, doubler, ask, *(((float(i),), {}) for i in range(1, 21)))
    assert _answers(doubler, asked) == [[2.0 * i] for i in range(21)]
    assert [len(batch) for batch in doubler.batches] == [1, 8, 8, 4]
    assert len(set(doubler.threads)) == 4


def test_as_many_batches_run_at_once_as_there_are_instances():
    lock, busy, most = threading.Lock(), [0], []

    def run(inputs):
        with lock:
            busy[0] += 1
            most.append(busy[0])
        time.sleep(0.001)
        with lock:
            busy[0] -= 1
        return {"y": inputs["x"]}

    scheduler = _scheduler(run, instances=3)
    ones = np.ones((1, 1), np.float32)

    def work():
        for _ in range(20):
            scheduler.submit_now({"x": ones}, 1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 3


def test_higher_priorities_run_first_and_unknown_ones_are_the_default(doubler, ask):
    scheduler = _scheduler(doubler, priority_levels=3, default_level=2)
    priorities = (3, 0, 1, 9, 2, 1)
    requests = [((float(i),), {"priority": p}) for i, p in enumerate(priorities, 1)]
    _answers(doubler, _queue(scheduler, doubler, ask, *requests))
    assert doubler.batches == [[0], [3], [6], [2], [4], [5], [1]]


def test_a_batch_takes_high_priorities_first_and_is_filled_with_low_ones(doubler, ask):
    scheduler = _scheduler(doubler, max_rows=4, merge=True, priority_levels=2, default_level=2)
    requests = [((float(i),), {"priority": 2 - i % 2}) for i in range(1, 6)]
    _answers(doubler, _queue(scheduler, doubler, ask, *requests))
    assert doubler.batches == [[0], [1, 3, 5, 2], [4]]


def test_a_level_may_have_a_limit_of_its_own(doubler, ask):
    rules = {1: QueueRules(max_requests=1)}
    scheduler = _scheduler(
        doubler, priority_levels=2, default_level=2, max_queue_requests=2, rules_by_level=rules
    )
    asked = _queue(scheduler, doubler, ask, ((1.0,), {"priority": 1}), ((2.0,), {}), ((3.0,), {}))
    for priority in (1, 2):
        with pytest.raises(OverloadedError):
            ask(scheduler, 1.0, priority=priority).result(5)
    assert _answers(doubler, asked) == [[0], [2], [4], [6]]
    assert scheduler.statistics().failures[Failure.REJECTED] == 2


def test_a_request_that_waits_beyond_the_queues_timeout_is_refused(doubler, ask):
    scheduler = _scheduler(doubler, rules=QueueRules(timeout_s=0.05))
    held, waiting = _queue(scheduler, doubler, ask, ((1.0,), {}))
    with pytest.raises(DeadlineError):
        waiting.result(5)
    time.sleep(0.05)  # what runs is held longer than that, and answered all the same
    assert _answers(doubler, [held]) == [[0]]
    assert doubler.batches == [[0]]


def test_a_request_in_a_batch_outlives_the_queues_timeout(doubler, ask):
    scheduler = _scheduler(doubler, max_rows=2, merge=True, rules=QueueRules(timeout_s=0.1))
    asked = _queue(scheduler, doubler, ask, ((1.0,), {}), ((2.0,), {}))
    doubler.takes_s = 0.2
    assert _answers(doubler, asked) == [[0], [2], [4]]


def test_a_delayed_request_runs_behind_the_others_of_its_level(doubler, ask):
    rules = QueueRules(timeout_s=0.05, delay=True)
    scheduler = _scheduler(
        doubler,
        priority_levels=2,
        default_level=1,
        rules_by_level={1: rules},
    )
    asked = _queue(scheduler, doubler, ask, ((1.0,), {}), ((5.0,), {"priority": 2}))
    time.sleep(0.1)
    asked += [ask(scheduler, value) for value in (2.0, 3.0)]
    _until(lambda: scheduler.pending == 4)
    assert sorted(_answers(doubler, asked)) == [[0], [2], [4], [6], [10]]
    assert doubler.batches[0] == [0]
    assert sorted(doubler.batches[1:3]) == [[2], [3]]
    assert doubler.batches[3:] == [[1], [5]]


@pytest.mark.parametrize(
    ("allowed", "default_s", "asked_s", "wait_s"),
    [
        (True, 1.0, 0.5, 0.5),
        (True, 1.0, 2.0, 1.0),
        (True, 1.0, None, 1.0),
        (True, None, 0.5, 0.5),
        (True, 1.0, 0.0, 1.0),
        (False, 1.0, 0.5, 1.0),
        (False, None, 0.5, None),
    ],
)
def test_a_request_may_shorten_its_wait_where_it_is_allowed(allowed, default_s, asked_s, wait_s):
    rules = QueueRules(timeout_s=default_s, allow_override=allowed)
    assert rules.wait_s(asked_s) == wait_s


def test_an_override_is_obeyed(doubler, ask):
    scheduler = _scheduler(doubler, rules=QueueRules(allow_override=True))
    held, waiting = _queue(scheduler, doubler, ask, ((1.0,), {"queue_timeout_s": 0.05}))
    with pytest.raises(DeadlineError):
        waiting.result(5)
    assert _answers(doubler, [held]) == [[0]]


def test_a_deadline_ends_the_wait_for_a_batch_that_runs_too_long(doubler, ask):
    scheduler = _scheduler(doubler, max_rows=2, merge=True)
    asked = _queue(scheduler, doubler, ask, ((1.0,), {}), ((2.0,), {"timeout_s": 0.3}))
    doubler.takes_s = 0.6
    doubler.gate.set()
    with pytest.raises(DeadlineError):
        asked[2].result(5)
    assert _answers(doubler, asked[:2]) == [[0], [2]]
    assert doubler.batches == [[0], [1, 2]]
    assert scheduler.statistics().failures[Failure.CANCELED] == 1


def test_a_request_that_would_be_late_is_refused_at_once_with_the_time_it_takes(doubler, ask):
    scheduler = _scheduler(doubler)
    doubler.takes_s = 0.1
    ask(scheduler, 1.0).result(5)
    asked = _queue(scheduler, doubler, ask, *[((1.0,), {})] * 4)
    before_s = time.monotonic()
    with pytest.raises(OverloadedError, match="would answer in about") as refusal:
        scheduler.submit_now({"x": np.ones((1, 1))}, 1, timeout_s=0.3)
    assert time.monotonic() - before_s < 0.1
    assert 0.3 < refusal.value.retry_after_s < 2
    asked.append(ask(scheduler, 1.0, timeout_s=5))
    assert len(_answers(doubler, asked)) == 6
    assert scheduler.statistics().failures[Failure.REJECTED] == 1


def test_only_rows_of_one_shape_merge(doubler, ask):
    scheduler = _scheduler(doubler, max_rows=8, merge=True)
    requests = [((float(i),), {"columns": 1 + i % 2}) for i in range(1, 7)]
    asked = _queue(scheduler, doubler, ask, *requests)
    assert _answers(doubler, asked) == [[2.0 * i] for i in range(7)]
    assert doubler.batches == [[0], [1, 3, 5], [2, 4, 6]]


def test_a_request_overtakes_no_other_where_order_is_preserved(doubler, ask):
    scheduler = _scheduler(doubler, max_rows=8, merge=True, preserve_ordering=True)
    requests = [((float(i),), {"columns": 1 + i // 3}) for i in range(1, 7)]
    _answers(doubler, _queue(scheduler, doubler, ask, *requests))
    assert doubler.batches == [[0], [1, 2], [3, 4, 5], [6]]


def test_a_thread_gathers_a_batch_for_as_long_as_the_delay(doubler, ask):
    scheduler = _scheduler(doubler, max_rows=4, merge=True, max_queue_delay_s=2.0)
    asked = [ask(scheduler, float(value)) for value in range(4)]
    assert sorted(_answers(doubler, asked)) == [[0], [2], [4], [6]]
    assert [sorted(batch) for batch in doubler.batches] == [[0, 1, 2, 3]]


def test_what_a_gathered_batch_leaves_goes_to_another_instance(doubler, ask):
    scheduler = _scheduler(
        doubler, max_rows=4, merge=True, max_queue_delay_s=0.2, instances=2, preferred_rows=(2,)
    )
    asked = [ask(scheduler, float(value)) for value in range(5)]
    assert sorted(_answers(doubler, asked)) == [[0], [2], [4], [6], [8]]
    assert sorted(len(batch) for batch in doubler.batches) == [1, 2, 2]


def test_a_caller_that_left_is_not_served_and_its_thread_is_freed(doubler, ask):
    scheduler = _scheduler(doubler)
    watched = []
    held, waiting = _queue(scheduler, doubler, ask, ((1.0,), {"watch": watched.append}))
    watched[0]()
    with pytest.raises(CancelledError, match="left"):
        waiting.result(5)
    watched[0]()
    assert scheduler.pending == 0
    assert _answers(doubler, [held]) == [[0]]
    assert doubler.batches == [[0]]
    assert scheduler.statistics().failures[Failure.CANCELED] == 1


def test_an_error_for_the_user_goes_to_everyone_without_a_second_run(doubler, ask):
    scheduler = _scheduler(doubler, max_rows=4, merge=True)
    asked = _queue(scheduler, doubler, ask, ((1.0,), {}), ((2.0,), {}))
    doubler.error = UnavailableError("the process of model 'doubler' died")
    doubler.gate.set()
    errors = [future.exception(5) for future in asked]
    assert all(isinstance(error, UnavailableError) for error in errors)
    assert len(set(map(id, errors))) == 3
    assert doubler.batches == [[0], [1, 2]]
    assert scheduler.statistics().failures[Failure.OTHER] == 3


def test_a_failing_batch_runs_apart_and_fails_alone(doubler, ask, caplog):
    scheduler = _scheduler(doubler, max_rows=4, merge=True)
    asked = _queue(scheduler, doubler, ask, ((1.0,), {}), ((-2.0,), {}), ((3.0,), {}))
    doubler.gate.set()
    assert [asked[i].result(5) for i in (0, 1, 3)] == [[0], [2], [6]]
    assert isinstance(asked[2].exception(5), InferenceError)
    assert doubler.batches == [[0], [1, -2, 3], [1], [-2], [3]]
    counted = scheduler.statistics()
    assert (counted.success.count, counted.fail.count) == (3, 1)
    assert counted.failures[Failure.BACKEND] == 1
    assert "secret" in caplog.text


def test_a_graph_that_does_not_answer_row_by_row_is_not_divided(ask, doubler, caplog):
    def total(inputs):
        return {"y": doubler(inputs)["y"].sum(keepdims=True)}

    scheduler = _scheduler(total, max_rows=4, merge=True)
    asked = _queue(scheduler, doubler, ask, ((1.0, 2.0), {}), ((3.0,), {}))
    assert _answers(doubler, asked) == [[0], [6], [6]]
    assert "output 'y' of a batch of 3" in caplog.text


def test_a_thread_that_is_ended_leaves_nobody_waiting(doubler, ask):
    scheduler = _scheduler(doubler, max_rows=2, merge=True)
    asked = _queue(scheduler, doubler, ask, *(((float(i),), {}) for i in range(1, 5)))
    doubler.error = SystemExit()
    doubler.gate.set()
    errors = [future.exception(5) for future in asked]
    assert [type(error) for error in errors].count(InferenceError) == 2
    doubler.error = None
    assert ask(scheduler, 1.0).result(5) == [2]


def test_statistics_are_tritons(doubler, ask):
    scheduler = _scheduler(doubler, max_rows=8, merge=True)
    asked = _queue(scheduler, doubler, ask, ((1.0, 2.0), {}), ((3.0,), {}))
    assert scheduler.statistics().pending == 2
    time.sleep(0.05)
    _answers(doubler, asked)
    counted = scheduler.statistics()
    assert (counted.name, counted.version, counted.pending) == ("doubler", 1, 0)
    assert (counted.inference_count, counted.execution_count) == (4, 2)
    assert {rows: batch.compute_infer.count for rows, batch in counted.batches.items()} == {
        1: 1,
        3: 1,
    }
    for spent in (counted.success, counted.queue, counted.compute_infer):
        assert spent.count == 3
    assert counted.queue.ns > 2 * 0.05e9
    parts = (counted.queue, counted.compute_input, counted.compute_infer, counted.compute_output)
    assert counted.success.ns == sum(spent.ns for spent in parts)
    assert abs(counted.last_inference_ms / 1000 - time.time()) < 5
    counted.success.add(1)
    assert scheduler.statistics().success.count == 3


def test_a_cache_in_front_is_counted_as_triton_counts_it(doubler):
    scheduler = _scheduler(doubler)
    scheduler.submit_now({"x": np.ones((1, 1))}, 1)
    scheduler.count_miss(5)
    scheduler.count_hit(time.monotonic_ns(), 7)
    counted = scheduler.statistics()
    assert counted.success.count == 2
    assert counted.inference_count == counted.execution_count == 1
    assert (counted.cache_hit.ns, counted.cache_miss.ns) == (7, 5)


async def test_what_coroutines_asked_for_is_refused_when_no_thread_is_left():
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    scheduler = _scheduler(lambda inputs: {"y": inputs["x"]}, executor)
    with pytest.raises(UnavailableError):
        await scheduler.submit({"x": np.ones((1, 1))}, 1)
    assert scheduler.submit_now({"x": np.ones((1, 1))}, 1)["y"].tolist() == [[1]]


def test_metrics_show_each_request_and_each_batch(doubler, ask):
    def value(name, **labels):
        return metrics.REGISTRY.get_sample_value(name, {"model": "shown", **labels}) or 0

    scheduler = Scheduler("shown", 1, doubler, Policy(max_rows=8, merge=True), Nobody())
    _answers(doubler, _queue(scheduler, doubler, ask, ((1.0, 2.0), {}), ((3.0,), {})))
    _until(lambda: value("kokeshi_batch_rows_count") == 2)
    assert value("kokeshi_batch_rows_sum") == 4
    assert value("kokeshi_stage_seconds_count", stage="queue") == 3
    assert value("kokeshi_stage_seconds_count", stage="infer") == 2


def test_the_policy_is_read_from_the_configuration():
    config = ModelConfig(
        name="m",
        max_batch_size=8,
        instance_group=(InstanceGroup(count=2), InstanceGroup()),
        dynamic_batching=DynamicBatching(
            preferred_batch_size=(4, 8),
            max_queue_delay_microseconds=100,
            preserve_ordering=True,
            priority_levels=2,
            default_priority_level=1,
            default_queue_policy=QueuePolicy(max_queue_size=5),
            priority_queue_policy={
                2: QueuePolicy(
                    timeout_action="DELAY",
                    default_timeout_microseconds=2000,
                    allow_timeout_override=True,
                )
            },
        ),
    )
    assert policy_from(config, max_queue_requests=7) == Policy(
        max_rows=8,
        merge=True,
        preferred_rows=(4, 8),
        max_queue_delay_s=1e-4,
        preserve_ordering=True,
        max_queue_requests=7,
        priority_levels=2,
        default_level=1,
        rules=QueueRules(max_requests=5),
        rules_by_level={2: QueueRules(timeout_s=0.002, delay=True, allow_override=True)},
        instances=3,
    )


def test_a_model_without_dynamic_batching_runs_each_request_alone_and_bounds_its_queue():
    assert policy_from(ModelConfig(name="m", max_batch_size=8)) == Policy(
        max_rows=8, merge=False, max_queue_requests=MAX_QUEUE_REQUESTS
    )

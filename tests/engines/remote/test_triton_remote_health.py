"""What Triton's statuses and texts mean, and what they say of a model."""

import pytest

from kokeshi.engines.triton import health as module
from kokeshi.engines.triton.faults import Fault, error_of, silence, without_paths
from kokeshi.engines.triton.health import DIED, FAILURES_TO_DOUBT, Health
from kokeshi.errors import (
    DeadlineError,
    InferenceError,
    InvalidRequestError,
    ModelNotFoundError,
    OverloadedError,
    TooLargeError,
    UnavailableError,
    UnimplementedError,
)

DEAD = Fault("INTERNAL", "Stub process 'm_0_0' is not healthy.")
BROKEN = Fault("INTERNAL", "onnx runtime error 2: shape mismatch")
LATE = Fault("DEADLINE_EXCEEDED", "Deadline Exceeded")
GONE = Fault(
    "UNAVAILABLE",
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: "
    "Failed to connect to remote host: Connection refused",
)


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (Fault("NOT_FOUND", "Request for unknown model: 'm' is not found"), ModelNotFoundError,
         "no model named 'm'"),
        (Fault("UNAVAILABLE", "[request id: 7] Exceeds maximum queue size"), OverloadedError,
         "the queue of model 'm' is full"),
        (Fault("UNAVAILABLE", "[request id: <id_unknown>] Request timeout expired"), DeadlineError,
         "model 'm' did not answer in time"),
        (Fault("UNAVAILABLE", "Server exiting"), UnavailableError,
         "model 'm': the Triton server does not answer: server exiting"),
        (GONE, UnavailableError,
         "model 'm': the Triton server does not answer: connection refused"),
        (LATE, DeadlineError, "model 'm' did not answer in time"),
        (Fault("INVALID_ARGUMENT", "[request id: <id_unknown>] unexpected inference input 'x'"),
         InvalidRequestError, "unexpected inference input 'x'"),
        (BROKEN, InferenceError, "model 'm' failed to run"),
        (DEAD, UnavailableError, "model 'm' is failed: the process that ran it died"),
        (Fault("RESOURCE_EXHAUSTED", "message is too large"), TooLargeError,
         "model 'm': message is too large"),
        (Fault("UNIMPLEMENTED", "decoupled"), UnimplementedError, "decoupled"),
        (Fault("UNAUTHENTICATED", "no token"), UnavailableError,
         "model 'm': the Triton server refuses this gateway"),
        (Fault("UNKNOWN", "something at /srv/secret"), InferenceError, "model 'm' failed to run"),
        (Fault("UNKNOWN", "Stream removed at /srv/secret"), UnavailableError,
         "model 'm': the Triton server does not answer: stream removed at secret"),
        (Fault("CANCELLED", "Cancelling all calls"), UnavailableError,
         "model 'm': the Triton server does not answer: cancelling all calls"),
    ],
)  # fmt: skip
def test_every_status_has_its_error(fault, error, message):
    made = error_of(fault, "m", retry_after_s=2.5)
    assert type(made) is error
    assert str(made) == message
    if isinstance(made, OverloadedError) and error is OverloadedError:
        assert made.retry_after_s == 2.5


def test_the_servers_folders_are_not_told():
    told = without_paths("failed to open /srv/models/colours/labels.txt: No such file, 3/4 done")
    assert told == "failed to open labels.txt: No such file, 3/4 done"


def test_silence_is_told_in_a_few_words():
    assert silence(GONE) == "the Triton server does not answer: connection refused"
    assert silence(LATE) == "the Triton server does not answer: no answer in time"
    assert silence(Fault("UNAVAILABLE", "")) == "the Triton server does not answer"


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now_s = 1000.0

        def monotonic(self):
            return self.now_s

    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def health(clock):
    return Health(silence_timeout_s=10)


def test_a_dead_process_fails_a_model_at_once_and_an_answered_probe_mends_it(health):
    assert health.faulted(DEAD)
    assert health.failed == DIED
    assert health.doubted
    assert not health.faulted(DEAD)  # nothing new
    assert not health.probed(DEAD)
    assert health.probed(None)
    assert not health.failed
    assert not health.doubted


def test_failures_in_a_row_have_it_probed_and_the_probe_decides(health):
    for _ in range(FAILURES_TO_DOUBT - 1):
        assert not health.faulted(BROKEN)
    health.answered()
    for _ in range(FAILURES_TO_DOUBT):
        assert not health.doubted
        health.faulted(BROKEN)
    assert health.doubted
    assert not health.failed
    assert health.probed(BROKEN)
    assert health.failed == "it fails: onnx runtime error 2: shape mismatch"


def test_requests_that_were_bad_do_not_fail_a_model(health):
    for _ in range(FAILURES_TO_DOUBT):
        health.faulted(BROKEN)
    assert not health.probed(None)
    assert not health.failed
    assert not health.doubted


def test_a_model_that_fails_on_zeros_is_tried_with_a_request_now_and_then(health, clock):
    for _ in range(FAILURES_TO_DOUBT):
        health.faulted(BROKEN)
    health.probed(BROKEN)
    assert health.trial()
    assert not health.trial()
    clock.now_s += 2
    assert health.trial()
    assert health.answered()
    assert not health.failed


def test_a_model_whose_process_died_is_not_tried_with_requests(health):
    health.faulted(DEAD)
    assert not health.trial()


def test_silence_while_something_waits_has_it_probed(health, clock):
    health.sent(waiting=0)
    clock.now_s += 9
    health.executed(0, waiting=1)
    assert not health.doubted
    clock.now_s += 2
    health.executed(0, waiting=1)
    assert health.doubted
    assert health.probed(LATE)
    assert health.failed == "no answer for 11 s"
    assert not health.trial()


def test_executions_for_others_are_no_silence(health, clock):
    health.sent(waiting=0)
    for executions in range(1, 5):
        clock.now_s += 6
        health.executed(executions, waiting=1)
        assert not health.doubted


def test_a_model_that_nobody_asks_is_not_doubted(health, clock):
    clock.now_s += 3600
    health.executed(0, waiting=0)
    assert not health.doubted
    health.sent(waiting=0)
    health.executed(0, waiting=1)
    assert not health.doubted


def test_a_request_that_ran_into_its_deadline_counts_as_waiting(health, clock):
    health.sent(waiting=0)
    health.faulted(LATE)
    clock.now_s += 11
    health.executed(0, waiting=0)
    assert health.doubted
    assert not health.probed(None)
    assert not health.doubted


def test_a_busy_queue_is_no_verdict(health):
    for _ in range(FAILURES_TO_DOUBT):
        health.faulted(BROKEN)
    assert not health.probed(Fault("UNAVAILABLE", "Exceeds maximum queue size"))
    assert not health.doubted

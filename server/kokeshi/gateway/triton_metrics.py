"""Triton's own metrics, and the states of models, read off the engine when somebody scrapes.

Names, labels and meaning are Triton's, so that dashboards made for it work:
https://github.com/triton-inference-server/server/blob/main/docs/user_guide/metrics.md
"""

import re
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from prometheus_client.core import (
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    UnknownMetricFamily,
)
from prometheus_client.exposition import choose_encoder

from kokeshi.engines.protocol import ModelStatus
from kokeshi.engines.statistics import ModelStatistics
from kokeshi.metrics import REGISTRY

NS_PER_US: Final = 1000
LABELS: Final = ("model", "version")

# A counter's name ends in `_total` in OpenMetrics, and none of Triton's does: there they are of
# unknown type. The older text format has no such rule, and what reads it (OpenTelemetry, Datadog)
# goes by the type: there they are the counters that Triton's are.
_COUNTERS: Final = re.compile(rb"^(# TYPE nv_\w+) untyped$", re.MULTILINE)


class Counted(Protocol):
    """The part of a service that metrics read."""

    def path(self) -> str:
        """How tensors reach what runs the models."""

    def index(self) -> Sequence[ModelStatus]:
        """Every version with its state."""

    def counted(self) -> Sequence[ModelStatistics]:
        """The newest statistics that need no waiting."""


@dataclass(frozen=True)
class Family:
    """A metric with one value per version of a model."""

    name: str
    documentation: str
    value: Callable[[ModelStatistics], int]
    gauge: bool = False


FAMILIES: Final = (
    Family(
        "nv_inference_request_success",
        "Number of successful inference requests, all batch sizes",
        lambda each: each.success.count,
    ),
    Family(
        "nv_inference_count",
        "Number of inferences performed (does not include cached requests)",
        lambda each: each.inference_count,
    ),
    Family(
        "nv_inference_exec_count",
        "Number of model executions performed (does not include cached requests)",
        lambda each: each.execution_count,
    ),
    Family(
        "nv_inference_request_duration_us",
        "Cumulative inference request duration in microseconds (includes cached requests)",
        lambda each: each.success.ns // NS_PER_US,
    ),
    Family(
        "nv_inference_queue_duration_us",
        "Cumulative inference queuing duration in microseconds (includes cached requests)",
        lambda each: each.queue.ns // NS_PER_US,
    ),
    Family(
        "nv_inference_compute_input_duration_us",
        "Cumulative compute input duration in microseconds (does not include cached requests)",
        lambda each: each.compute_input.ns // NS_PER_US,
    ),
    Family(
        "nv_inference_compute_infer_duration_us",
        "Cumulative compute inference duration in microseconds (does not include cached requests)",
        lambda each: each.compute_infer.ns // NS_PER_US,
    ),
    Family(
        "nv_inference_compute_output_duration_us",
        "Cumulative inference compute output duration in microseconds "
        "(does not include cached requests)",
        lambda each: each.compute_output.ns // NS_PER_US,
    ),
    Family(
        "nv_inference_pending_request_count",
        "Instantaneous number of pending requests awaiting execution per-model.",
        lambda each: each.pending,
        gauge=True,
    ),
    Family(
        "nv_cache_num_hits_per_model",
        "Number of cache hits per model",
        lambda each: each.cache_hit.count,
    ),
    Family(
        "nv_cache_num_misses_per_model",
        "Number of cache misses per model",
        lambda each: each.cache_miss.count,
    ),
    Family(
        "nv_cache_hit_duration_per_model",
        "Total cache hit duration per model, in microseconds",
        lambda each: each.cache_hit.ns // NS_PER_US,
    ),
    Family(
        "nv_cache_miss_duration_per_model",
        "Total cache miss (insert+lookup) duration per model, in microseconds",
        lambda each: each.cache_miss.ns // NS_PER_US,
    ),
)
FAILURE: Final = "nv_inference_request_failure"


class ModelCollector:
    """Collects from the service that is watched; nothing is kept between two scrapes."""

    def __init__(self) -> None:
        self._service: weakref.ref[Counted] | None = None

    def watch(self, service: Counted) -> None:
        """Collects from this service, in place of any before, for as long as it exists."""
        self._service = weakref.ref(service)

    def describe(self) -> Iterable[Metric]:
        """The families without samples, so that registering asks no service."""
        return (*_statistics(()), *_states(()), _path(""))

    def collect(self) -> Iterable[Metric]:
        """The families with what the service says now."""
        service = self._service() if self._service else None
        if service is None:
            return ()
        return (*_statistics(service.counted()), *_states(service.index()), _path(service.path()))


COLLECTOR: Final = ModelCollector()


def exposition(accepted: str) -> tuple[bytes, str]:
    """All metrics in the format that a scraper accepts, and its content type.

    Args:
        accepted: the header Accept.
    """
    encode, content_type = choose_encoder(accepted)
    return _COUNTERS.sub(rb"\1 counter", encode(REGISTRY)), content_type


def _statistics(counted: Sequence[ModelStatistics]) -> Iterator[Metric]:
    for family in FAMILIES:
        kind = GaugeMetricFamily if family.gauge else UnknownMetricFamily
        metric = kind(family.name, family.documentation, labels=LABELS)
        for each in counted:
            metric.add_metric((each.name, str(each.version)), family.value(each))
        yield metric
    failure = UnknownMetricFamily(
        FAILURE, "Number of failed inference requests, all batch sizes", labels=(*LABELS, "reason")
    )
    for each in counted:
        for reason, count in each.failures.items():
            failure.add_metric((each.name, str(each.version), reason.value), count)
    yield failure


def _states(models: Sequence[ModelStatus]) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "kokeshi_model_state", "1 for the state that the model is in.", labels=(*LABELS, "state")
    )
    progress = GaugeMetricFamily(
        "kokeshi_model_build_progress",
        "How far the engine of a model that is being built has come, in [0, 1].",
        labels=LABELS,
    )
    for each in models:
        labels = (each.name, str(each.version))
        state.add_metric((*labels, each.state.value), 1)
        if each.progress is not None:
            progress.add_metric(labels, each.progress)
    yield from (state, progress)


def _path(path: str) -> Metric:
    documentation = "How tensors reach what runs the models."
    return InfoMetricFamily("kokeshi_engine_path", documentation, value={"path": path})


REGISTRY.register(COLLECTOR)

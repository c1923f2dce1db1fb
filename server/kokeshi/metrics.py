"""Every metric that Kokeshi exposes, by Prometheus' conventions: base units, `_total` for counters.

docs/metrics.md lists them; a test compares the two.
"""

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
)

REGISTRY: Final = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

# From a graph of microseconds to one that builds for half a minute.
SECONDS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip

BUILD = Info("kokeshi_build", "Version of Kokeshi and its engine.", registry=REGISTRY)
REQUESTS = Counter(
    "kokeshi_requests_total",
    "Requests answered, by door (grpc, http), call and status code.",
    ["door", "call", "code"],
    registry=REGISTRY,
)
REQUEST_SECONDS = Histogram(
    "kokeshi_request_seconds",
    "Time from a request's arrival to its answer.",
    ["door", "call"],
    buckets=SECONDS,
    registry=REGISTRY,
)
IN_FLIGHT = Gauge(
    "kokeshi_requests_in_flight", "Requests being answered.", ["door"], registry=REGISTRY
)
STAGE_SECONDS = Histogram(
    "kokeshi_stage_seconds",
    "Time of one stage of a request: decode, queue, infer, encode.",
    ["stage", "model"],
    buckets=SECONDS,
    registry=REGISTRY,
)
BATCH_ROWS = Histogram(
    "kokeshi_batch_rows",
    "Rows of each executed batch.",
    ["model"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
    registry=REGISTRY,
)
QUEUE_REQUESTS = Gauge(
    "kokeshi_queue_requests", "Requests that wait for a model.", ["model"], registry=REGISTRY
)
REFUSED = Counter(
    "kokeshi_refused_total",
    "Requests to a model that it did not answer, by reason (queue_full, deadline).",
    ["model", "reason"],
    registry=REGISTRY,
)
DECODE_QUEUE = Gauge(
    "kokeshi_decode_queue_images", "Images that wait to be decoded.", registry=REGISTRY
)
MODEL_READY = Gauge(
    "kokeshi_model_ready",
    "1 when this version of the model answers requests.",
    ["model", "version"],
    registry=REGISTRY,
)
MODEL_RESTARTS = Counter(
    "kokeshi_model_restarts_total",
    "Processes of a model that were gone or would not start, by reason.",
    ["model", "reason"],
    registry=REGISTRY,
)
COLLECTION_ITEMS = Gauge(
    "kokeshi_collection_items", "Items kept.", ["collection"], registry=REGISTRY
)
COLLECTION_QUARANTINED = Gauge(
    "kokeshi_collection_quarantined",
    "1 while the collection is not served because what it holds is damaged, else 0.",
    ["collection"],
    registry=REGISTRY,
)
SEARCH_SECONDS = Histogram(
    "kokeshi_search_seconds",
    "Time of one search in a collection, without the embedding of its queries.",
    ["collection"],
    buckets=SECONDS,
    registry=REGISTRY,
)
WRITE_SECONDS = Histogram(
    "kokeshi_write_seconds",
    "Time of one acknowledged write to a collection.",
    ["collection"],
    buckets=SECONDS,
    registry=REGISTRY,
)
SEARCH_RECALL = Gauge(
    "kokeshi_search_recall",
    "Share of the true neighbours that searches found, measured on sampled ones.",
    ["collection", "dial"],
    registry=REGISTRY,
)
SEARCH_RECALL_LOW = Gauge(
    "kokeshi_search_recall_low",
    "Lower end of the 95 % interval of kokeshi_search_recall.",
    ["collection", "dial"],
    registry=REGISTRY,
)
SEARCH_RECALL_HIGH = Gauge(
    "kokeshi_search_recall_high",
    "Upper end of the 95 % interval of kokeshi_search_recall.",
    ["collection", "dial"],
    registry=REGISTRY,
)
SEARCH_RECALL_SAMPLES = Gauge(
    "kokeshi_search_recall_samples",
    "Searches that were repeated exactly for kokeshi_search_recall.",
    ["collection", "dial"],
    registry=REGISTRY,
)
RECALL_QUEUE = Gauge(
    "kokeshi_recall_queue_searches", "Searches that wait to be repeated.", registry=REGISTRY
)
RECALL_DROPPED = Counter(
    "kokeshi_recall_dropped_total",
    "Sampled searches that were not repeated: the queue was full.",
    registry=REGISTRY,
)
RECALL_SECONDS = Counter(
    "kokeshi_recall_seconds_total",
    "Time spent on repeating searches to measure recall.",
    registry=REGISTRY,
)
COLLECTION_DIAGNOSTIC = Gauge(
    "kokeshi_collection_diagnostic",
    "A figure that a diagnostic found when it was last asked for.",
    ["collection", "diagnostic", "figure"],
    registry=REGISTRY,
)
TRANSFER_PROGRESS = Gauge(
    "kokeshi_transfer_progress",
    "How far the items of another collection have come into this one, in [0, 1].",
    ["collection"],
    registry=REGISTRY,
)
TRANSFER_NATIVE = Gauge(
    "kokeshi_transfer_native_share",
    "Share of the items that the collection's own model embedded, not a map.",
    ["collection"],
    registry=REGISTRY,
)
TRANSFER_RECALL = Gauge(
    "kokeshi_transfer_map_recall",
    "Recall of the map that fills the collection, on held-out queries.",
    ["collection"],
    registry=REGISTRY,
)

_OF_COLLECTIONS: Final = (
    COLLECTION_ITEMS,
    SEARCH_SECONDS,
    WRITE_SECONDS,
    SEARCH_RECALL,
    SEARCH_RECALL_LOW,
    SEARCH_RECALL_HIGH,
    SEARCH_RECALL_SAMPLES,
    COLLECTION_DIAGNOSTIC,
    TRANSFER_PROGRESS,
    TRANSFER_NATIVE,
    TRANSFER_RECALL,
)


def forget_collection(name: str) -> None:
    """Drops the series of a collection that is no more."""
    for metric in _OF_COLLECTIONS:
        metric.remove_by_labels({"collection": name})

"""One metrics page for a server of several processes.

Each process sends its samples to the parent, which keeps the newest of each and, for ever, the
counts of those that ended: a sum that fell would look like a restart of everything. Whichever
gateway is asked for the page adds the others' samples to its own.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.core import Metric

from kokeshi.metrics import COLLECTION_ITEMS, REGISTRY

Labels = tuple[tuple[str, str], ...]
Values = dict[tuple[str, Labels], float]  # by name and labels of the sample

ENGINE: Final = "engine"  # the value of the label `process` that is no gateway's number
PROCESS: Final = "process_"
_SUMS: Final = {"counter", "histogram"}  # what ended processes counted stays counted
# Read off the engine, or the same in each process: the gateway that is asked says it for all.
_ITS_OWN: Final = ("nv_", "python_", "kokeshi_build", "kokeshi_engine_path", "kokeshi_model_state")
_OF_THE_ENGINE: Final = ("kokeshi_collection_items", "kokeshi_model_ready")


@dataclass
class Family:
    """A metric's samples."""

    kind: str
    documentation: str
    values: Values = field(default_factory=dict)


Page = dict[str, Family]  # by the metric's name


def page_of(metrics: Iterable[Metric], process: str) -> Page:
    """What a process has to say to the others."""
    page: Page = {}
    for metric in metrics:
        if not _is_shared(metric.name, process):
            continue
        values: Values = {}
        for sample in metric.samples:
            labels = dict(sample.labels)
            if metric.name.startswith(PROCESS):
                labels["process"] = process
            values[sample.name, tuple(labels.items())] = sample.value
        page[metric.name] = Family(metric.type, metric.documentation, values)
    return page


def _is_shared(name: str, process: str) -> bool:
    if name.startswith(_OF_THE_ENGINE):
        return process == ENGINE
    return not name.startswith(_ITS_OWN)


def add(pages: Iterable[Page]) -> Page:
    """The sum of pages; what was created is as old as the oldest."""
    whole: Page = {}
    for page in pages:
        for name, family in page.items():
            sums = whole.setdefault(name, Family(family.kind, family.documentation)).values
            for key, value in family.values.items():
                if key not in sums:
                    sums[key] = value
                elif key[0].endswith("_created"):
                    sums[key] = min(sums[key], value)
                else:
                    sums[key] += value
    return whole


class Totals:
    """The newest page of each process, and what those that ended had counted."""

    def __init__(self) -> None:
        self._pages: dict[str, Page] = {}
        self._ended: Page = {}

    def put(self, process: str, page: Page) -> None:
        """Takes the place of the process's page before."""
        self._pages[process] = page

    def end(self, process: str) -> None:
        """The process is gone: its counts stay, its gauges go."""
        page = self._pages.pop(process, {})
        counts = {
            name: family
            for name, family in page.items()
            if family.kind in _SUMS and not name.startswith(PROCESS)
        }
        self._ended = add((self._ended, counts))

    def without(self, process: str) -> Page:
        """The sum of all others."""
        others = (page for name, page in self._pages.items() if name != process)
        return add((self._ended, *others))


def show_whole(process: str, others: Callable[[], Page]) -> Callable[[], Page]:
    """Has this process's metrics page tell of all processes.

    Args:
        process: this one.
        others: the sum of the others' pages.

    Returns:
        What reads this process's own page.
    """
    collect = REGISTRY.collect

    def whole() -> Iterator[Metric]:
        metrics = list(collect())
        page = add((page_of(metrics, process), others()))
        yield from (metric for metric in metrics if metric.name.startswith(_ITS_OWN))
        yield from _metrics(page)

    REGISTRY.collect = whole  # type: ignore[method-assign] # the page is made of nothing else
    return lambda: page_of(collect(), process)


def _metrics(page: Page) -> Iterator[Metric]:
    kept = _collections(page)
    for name, family in page.items():
        metric = Metric(name, family.documentation, family.kind)
        for (sample, labels), value in _ordered(family.values):
            told = dict(labels)
            if "collection" not in told or told["collection"] in kept:
                metric.add_sample(sample, told, value)
        yield metric


def _ordered(values: Values) -> Iterable[tuple[tuple[str, Labels], float]]:
    """Samples of one set of labels together, as the text format wants it."""
    groups: Mapping[Labels, list[tuple[tuple[str, Labels], float]]] = defaultdict(list)
    for key, value in values.items():
        group = tuple(pair for pair in key[1] if pair[0] != "le")
        groups[group].append((key, value))
    return (item for group in groups.values() for item in group)


def _collections(page: Page) -> set[str]:
    """Those that exist: a gateway does not hear that another one dropped a collection."""
    items = page.get("kokeshi_collection_items")
    return {dict(labels)["collection"] for _, labels in items.values} if items else set()


def count_items(counts: Mapping[str, int]) -> None:
    """Shows how many items each collection keeps."""
    COLLECTION_ITEMS.clear()
    for name, count in counts.items():
        COLLECTION_ITEMS.labels(name).set(count)

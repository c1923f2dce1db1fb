"""The tables in docs/metrics.md are the code's, and names follow Prometheus' conventions."""

import re
from pathlib import Path

import pytest

from kokeshi import metrics
from kokeshi.gateway import triton_metrics

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"\| `((?:kokeshi|nv)_\w+)` \| (\w+) \| (.*?) \|")


def _documented():
    rows = ROW.findall(DOCUMENT.read_text())
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def _exposed():
    found = {}
    for metric in vars(metrics).values():
        if hasattr(metric, "_labelnames") and hasattr(metric, "_type"):
            suffix = {"counter": "_total", "info": "_info"}.get(metric._type, "")
            found[metric._name + suffix] = (metric._type, set(metric._labelnames))
    for family in triton_metrics.COLLECTOR.describe():
        suffix = {"info": "_info"}.get(family.type, "")
        # counters without `_total`, which the library does not know
        kind = {"unknown": "counter"}.get(family.type, family.type)
        found[family.name + suffix] = (kind, set(family._labelnames))
    return found


def test_the_table_lists_every_metric_with_its_type_and_labels():
    documented, exposed = _documented(), _exposed()
    assert set(documented) == set(exposed)
    for name, (kind, labels) in exposed.items():
        assert documented[name][0] == kind, name
        if kind != "info":
            assert documented[name][1] == labels, name


@pytest.mark.parametrize(
    ("name", "kind"), [(n, k) for n, (k, _) in _exposed().items() if not n.startswith("nv_")]
)
def test_names_have_base_units_and_suffixes(name, kind):
    assert name.startswith("kokeshi_")
    assert (kind == "counter") == name.endswith("_total")
    assert not re.search(r"_(ms|us|kb|mb|milliseconds)(_|$)", name)


def test_series_of_a_deleted_collection_are_forgotten():
    metrics.COLLECTION_ITEMS.labels("gone").set(3)
    metrics.forget_collection("gone")
    assert ("gone",) not in metrics.COLLECTION_ITEMS._metrics

"""Triton's metrics and the states of models, as a scraper sees them."""

import gc
import shutil
import subprocess

import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from kokeshi.engines.protocol import ModelStatus, State
from kokeshi.gateway.triton_metrics import COLLECTOR, exposition

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
COLOURS = {"model": "colours", "version": "1"}
PIXELS = np.zeros((3, 8, 8, 3), np.uint8)
ASKED = {
    "inputs": [
        {"name": "image", "datatype": "UINT8", "shape": [3, 8, 8, 3], "data": PIXELS.tolist()}
    ]
}


@pytest.fixture
async def scraped(both):
    """The metrics after two requests of three rows each, and one that cannot be right."""
    for _ in range(2):
        await both.http.post("/v2/models/colours/infer", json=ASKED)

    async def scrape(accept=""):
        return await both.http.get("/metrics", headers={"accept": accept})

    return scrape


def values(text, labels=COLOURS):
    return {
        sample.name: sample.value
        for family in openmetrics(text)
        for sample in family.samples
        if sample.labels == labels
    }


async def test_names_and_values_are_tritons(scraped):
    text = (await scraped(OPENMETRICS)).text
    found = values(text)
    assert found["nv_inference_request_success"] == 2
    assert found["nv_inference_count"] == 6
    assert found["nv_inference_exec_count"] == 2
    assert found["nv_inference_pending_request_count"] == 0
    assert (
        found["nv_inference_request_duration_us"] >= found["nv_inference_compute_infer_duration_us"]
    )
    assert found["nv_inference_compute_infer_duration_us"] > 0
    assert found["nv_cache_num_hits_per_model"] == 0
    for reason in ("REJECTED", "CANCELED", "BACKEND", "OTHER"):
        assert values(text, {**COLOURS, "reason": reason}) == {"nv_inference_request_failure": 0}


async def test_the_text_format_has_tritons_types(scraped):
    lines = (await scraped()).text.splitlines()
    assert "# TYPE nv_inference_count counter" in lines
    assert "# TYPE nv_inference_pending_request_count gauge" in lines
    assert 'nv_inference_count{model="colours",version="1"} 6.0' in lines
    assert not any("untyped" in line for line in lines)
    names = {family.name for family in prometheus("\n".join(lines))}
    assert {"nv_inference_count", "kokeshi_model_state", "kokeshi_engine_path_info"} <= names


async def test_states_and_the_path_are_told(scraped):
    text = (await scraped(OPENMETRICS)).text
    assert values(text, {**COLOURS, "state": "ready"}) == {"kokeshi_model_state": 1}
    assert values(text, {"path": "in process"}) == {"kokeshi_engine_path_info": 1}
    assert "kokeshi_model_build_progress{" not in text


async def test_the_progress_of_a_build_is_told(service):
    class Building(type(service)):
        def index(self):
            return [ModelStatus("m", 3, State.BUILDING, progress=0.43)]

    service.__class__ = Building
    COLLECTOR.watch(service)
    text = exposition(OPENMETRICS)[0].decode()
    labels = {"model": "m", "version": "3"}
    assert values(text, labels)["kokeshi_model_build_progress"] == 0.43
    assert values(text, {**labels, "state": "building"}) == {"kokeshi_model_state": 1}


async def test_a_service_that_is_gone_has_no_metrics():
    class Gone:
        """Not a service: nothing is asked of it."""

    gone = Gone()
    COLLECTOR.watch(gone)
    del gone
    gc.collect()
    assert "nv_" not in exposition("")[0].decode()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on PATH")
async def test_promtool_finds_fault_with_tritons_names_alone(scraped):
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=(await scraped()).content,
        capture_output=True,
        check=False,
    )
    faults = checked.stderr.decode().splitlines()
    assert not [fault for fault in faults if not fault.startswith("nv_")]
    assert checked.returncode in {0, 3}  # 3: it parsed, and did not like a name

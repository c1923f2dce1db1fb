"""`kokeshi serve --workers 2`: two gateways and one engine, as one server."""

import contextlib
import json
import re
import signal
import threading
import time

import httpx
import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from kokeshi.cli.worker_metrics import Totals, page_of
from kokeshi.errors import AlreadyExistsError, UnavailableError
from kokeshi.gateway.client import Client
from kokeshi.service.types import NewItem, Tensor

DIED = re.compile(r"process (\w+) died of signal 9; it is started again")
FLAGS = ("--workers", "2", "--threads", "1", "--log-format", "json")


class Workers:
    """A running server and its processes."""

    def __init__(self, server):
        self.process, self.http, self.grpc, self.log = (
            server.process, server.http, server.grpc, server.log,
        )  # fmt: skip
        self.parent = psutil.Process(self.process.pid)

    def children(self):
        """Processes by name: "engine", "0", "1"."""
        found = {}
        for line in self.log.read_text().splitlines():
            record = json.loads(line)
            if "process" in record and "pid" in record:
                found[record["process"]] = record["pid"]
        return {name: psutil.Process(pid) for name, pid in found.items() if psutil.pid_exists(pid)}

    def get(self, path):
        """An answer over a connection of its own: either gateway may take it."""
        return httpx.get(f"http://{self.http}{path}", timeout=20)

    def post(self, path, **body):
        """See `get`."""
        return httpx.post(f"http://{self.http}{path}", timeout=20, **body)

    def kserve(self):
        """A client with a connection of its own."""
        alone = [("grpc.use_local_subchannel_pool", 1)]
        return triton.InferenceServerClient(self.grpc, channel_args=alone)

    def page(self):
        """The metrics by name and labels."""
        families = text_string_to_metric_families(self.get("/metrics").text)
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    def who_answers(self, count=30):
        """Numbers of the gateways that answered some requests."""
        before = len(self.log.read_text().splitlines())
        for _ in range(count):
            assert self.get("/v1/models").status_code == 200
        lines = map(json.loads, self.log.read_text().splitlines()[before:])
        return {line["worker"] for line in lines if line.get("call") == "ListModels"}

    def stop(self):
        """Ends it as an operator does."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=60) == 0
        assert not self.children()


@pytest.fixture(scope="module")
def workers(start_server, tmp_path_factory):
    """A server for tests that leave it as it was."""
    control = ("--model-control", "explicit", "--load-models", "*")
    found = Workers(start_server(tmp_path_factory.mktemp("workers"), *FLAGS, *control))
    until(lambda: is_ready(found))
    yield found
    found.stop()


@pytest.fixture(scope="module")
def victims(start_server, tmp_path_factory):
    """A server for tests that end its processes, and wait until it is whole again."""
    found = Workers(start_server(tmp_path_factory.mktemp("victims"), *FLAGS))
    until(lambda: is_ready(found))
    yield found
    found.stop()


def until(condition, timeout_s=60.0):
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.02)


def is_ready(server):
    return server.get("/v1/health/ready").status_code == 200


def value(page, name, **labels):
    return page.get((name, frozenset(labels.items())), 0)


def total(page, call):
    return value(page, "kokeshi_requests_total", door="http", call=call, code="OK")


def test_both_gateways_answer_and_the_log_names_them(workers):
    assert workers.who_answers() == {"0", "1"}
    assert set(workers.children()) == {"engine", "0", "1"}


def test_they_agree_on_every_call(workers, make_picture):
    picture = {"content": make_picture((180, 40, 20)), "headers": {"content-type": "image/png"}}
    pixels = np.full((2, 8, 8, 3), 77, np.uint8)

    def ask():
        with workers.kserve() as client:
            tensor = triton.InferInput("image", pixels.shape, "UINT8").set_data_from_numpy(pixels)
            return (
                workers.post("/v1/models/colours/classify", **picture).json(),
                workers.post("/v1/models/colours/embed", **picture).json(),
                workers.post("/v1/models/regions/segment", **picture).json(),
                client.infer("colours", [tensor]).as_numpy("embedding").tolist(),
                client.get_model_config("colours", as_json=True),
                client.get_model_repository_index(as_json=True),
            )

    first = ask()
    assert all(ask() == first for _ in range(8))


def test_a_collection_of_one_is_there_for_all(workers, make_picture):
    png = {"content-type": "image/png"}
    with Client(workers.grpc) as client:
        space = client.create_collection("shared", "colours").space
        items = [NewItem("blue", _vector(2)), NewItem("red", _vector(0))]
        client.add_items("shared", items, space=space)
    search = {"content": make_picture("blue"), "headers": png}
    for _ in range(8):
        found = workers.post("/v1/collections/shared/search?k=1", **search).json()
        assert [hit["id"] for hit in found["results"][0]["hits"]] == ["blue"]
    until(lambda: value(workers.page(), "kokeshi_collection_items", collection="shared") == 2, 10)
    with Client(workers.grpc) as client:
        client.delete_collection("shared")
    for _ in range(8):
        assert workers.get("/v1/collections/shared").status_code == 404


def _vector(place):
    return Tensor(np.eye(4, dtype=np.float32)[place])


def test_a_model_that_one_unloads_is_gone_and_comes_back_for_all(workers):
    def answers():
        found = set()
        for _ in range(8):
            with workers.kserve() as client:
                found.add(client.is_model_ready("tags"))
        return found

    with workers.kserve() as client:
        client.unload_model("tags")
        until(lambda: answers() == {False}, 10)
        client.load_model("tags")
        until(lambda: answers() == {True}, 10)


def test_the_page_of_metrics_tells_of_all_processes(workers):
    before = workers.page()
    for _ in range(12):
        assert workers.get("/v1/server").status_code == 200
    wanted = total(before, "GetServerInfo") + 12
    until(lambda: {total(workers.page(), "GetServerInfo") for _ in range(6)} == {wanted}, 20)
    for _ in range(6):
        page = workers.page()
        resident = [dict(key[1]) for key in page if key[0] == "process_resident_memory_bytes"]
        assert sorted(labels["process"] for labels in resident) == ["0", "1", "engine"]
        assert value(page, "kokeshi_model_ready", model="colours", version="1") == 1
        assert value(page, "kokeshi_model_state", model="glow", version="1", state="ready") == 1


def test_the_page_is_open_metrics_too(workers):
    for _ in range(4):
        workers.get("/v1/server")
    accepted = {"accept": "application/openmetrics-text; version=1.0.0"}
    page = httpx.get(f"http://{workers.http}/metrics", headers=accepted, timeout=20).text
    families = {family.name: family for family in openmetrics.text_string_to_metric_families(page)}
    assert families["kokeshi_requests"].type == "counter"
    assert families["kokeshi_request_seconds"].type == "histogram"
    assert families["kokeshi_build"].type == "info"


def test_counts_of_a_process_that_ended_stay_and_its_gauges_go():
    def page(count, gauge):
        registry = CollectorRegistry()
        Counter("kokeshi_a", "", ["b"], registry=registry).labels("c").inc(count)
        Gauge("kokeshi_g", "", registry=registry).set(gauge)
        return page_of(registry.collect(), "0")

    def told(totals):
        whole = totals.without("asking")
        return [
            family.values.get(("kokeshi_a_total", (("b", "c"),)), family.values.get(key))
            for name, family in whole.items()
            for key in [(name, ())]
        ]

    totals = Totals()
    totals.put("0", page(3, 5))
    totals.put("1", page(4, 7))
    assert told(totals) == [7, 12]
    totals.end("0")
    assert told(totals) == [7, 7]
    totals.put("0", page(1, 1))
    assert told(totals) == [8, 8]
    assert totals.without("1")["kokeshi_a"].values["kokeshi_a_total", (("b", "c"),)] == 4


def test_a_gateway_that_is_killed_comes_back_and_the_other_answers(victims):
    server = victims
    server.who_answers()
    time.sleep(1.5)  # each gateway has told what it counted
    counted = total(server.page(), "ListModels")
    assert counted >= 30
    server.children()["1"].kill()
    until(lambda: DIED.search(server.log.read_text()), 10)
    assert server.who_answers(5) == {"0"}
    until(lambda: server.who_answers(10) == {"0", "1"})
    until(lambda: total(server.page(), "ListModels") >= counted + 15, 10)


def test_a_process_that_is_stopped_is_replaced(victims):
    server = victims
    first = server.children()["engine"]
    first.suspend()
    until(lambda: "process engine was stopped" in server.log.read_text(), 10)
    until(lambda: server.children().get("engine", first).pid != first.pid)
    until(lambda: is_ready(server))


def test_a_killed_engine_is_unavailable_then_back_and_nothing_acknowledged_is_lost(victims):
    server = victims
    acknowledged, wrong, ending = [], [], threading.Event()
    with Client(server.grpc) as client:
        space = client.create_collection("kept", "colours").space

    def write(thread):
        number = 0
        with Client(server.grpc) as client:
            while not ending.is_set():
                number += 1
                name = f"{thread}.{number}"
                try:
                    client.add_items("kept", [NewItem(name, _vector(thread))], space=space)
                    acknowledged.append(name)
                except UnavailableError:
                    time.sleep(0.01)
                except Exception as error:
                    wrong.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: len(acknowledged) > 20)
    server.children()["engine"].kill()
    killed_s = time.monotonic()
    until(lambda: not is_ready(server), 10)
    red_s = time.monotonic() - killed_s
    until(lambda: is_ready(server))
    print(f"not ready after {red_s:.3f} s, back after {time.monotonic() - killed_s:.3f} s")
    count = len(acknowledged)
    until(lambda: len(acknowledged) > count + 20)
    ending.set()
    for thread in threads:
        thread.join()
    assert [error for error in wrong if not isinstance(error, AlreadyExistsError)] == []
    with Client(server.grpc) as client:
        found = {item.id for item in client.get_items("kept", acknowledged[:256])}
        kept = client.describe_collection("kept").count
    assert found == set(acknowledged[:256])
    assert kept >= len(acknowledged)
    assert red_s < 1


def test_a_signal_lets_requests_in_flight_finish(start_server, tmp_path, make_picture):
    server = Workers(start_server(tmp_path, *FLAGS))
    until(lambda: is_ready(server))
    large = make_picture("red", (2000, 1500))
    statuses = []

    def ask():
        files = [("image", ("a.png", large)) for _ in range(15)]
        statuses.append(server.post("/v1/models/colours/classify", files=files).status_code)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: _sum(server.page(), "kokeshi_decode_queue_images") > 15, 10)
    server.stop()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 4


def _sum(page, name):
    return sum(found for (sample, _), found in page.items() if sample == name)


def test_a_parent_that_is_killed_takes_all_with_it(start_server, tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    server = Workers(start_server(tmp_path, *FLAGS, TMPDIR=str(temporary)))
    assert len(list(temporary.glob("kokeshi-*"))) == 1
    children = server.children()
    assert set(children) == {"engine", "0", "1"}
    server.process.kill()
    gone, alive = psutil.wait_procs(children.values(), timeout=30)
    assert len(gone) == 3, alive
    assert list(temporary.glob("kokeshi-*")) == []


def test_a_second_signal_ends_everything_at_once(start_server, tmp_path, make_picture):
    server = Workers(start_server(tmp_path, *FLAGS))
    until(lambda: is_ready(server))
    children = server.children()
    large = make_picture("red", (2000, 1500))
    files = [("image", ("a.png", large)) for _ in range(100)]

    def ask():
        with contextlib.suppress(httpx.HTTPError):
            server.post("/v1/models/colours/classify", files=files)

    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: _sum(server.page(), "kokeshi_decode_queue_images") > 40, 10)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.7)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=5) == -signal.SIGTERM
    assert len(psutil.wait_procs(children.values(), timeout=5)[0]) == 3
    thread.join()


def test_ports_that_others_share_are_refused(victims, start_server, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(AssertionError, match="cannot listen on http address"):
        start_server(other, *FLAGS, "--http", victims.http)


def test_what_keeps_it_from_serving_is_told_once(start_server, tmp_path):
    with pytest.raises(AssertionError, match="model repository 'absent' is not a folder"):
        start_server(tmp_path, *FLAGS, "--repository", "absent")

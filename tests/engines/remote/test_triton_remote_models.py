"""Models of stand-ins: which are seen, in which state, and how they are loaded."""

import grpc
import numpy as np
import pytest

from kokeshi.engines.protocol import Request, State
from kokeshi.engines.statistics import Failure
from kokeshi.engines.triton import watch as watching
from kokeshi.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    UnavailableError,
    WrongTaskError,
)

PIXELS = np.full((2, 8, 8, 3), [255, 0, 0], np.uint8)
RED = Request("colours", {"image": PIXELS})


async def test_models_and_versions_come_and_go(lab, tiny_repository):
    server = lab.serve("colours")
    engine = await lab.connect(server)
    server.add(tiny_repository, "tags").add(tiny_repository, "colours", version=2)
    await lab.until(lambda: lab.status(engine, "tags") and lab.status(engine, "colours", 2))
    await engine.infer(RED)
    assert server.asked[-1].model_version == "2"
    server.index["colours", 2] = ("UNAVAILABLE", "unloaded")
    await lab.until(lambda: not lab.status(engine, "colours", 2))
    await engine.infer(RED)
    assert server.asked[-1].model_version == "1"
    del server.index["tags", 1]
    await lab.until(lambda: not lab.status(engine, "tags"))
    with pytest.raises(ModelNotFoundError):
        engine.card("tags")


async def test_every_state_of_the_index_has_its_word(lab, tiny_repository):
    server = lab.serve("colours")
    server.add(tiny_repository, "tags", state="LOADING")
    server.add(tiny_repository, "glow", state="UNAVAILABLE", reason="Internal: no /srv/m/x.onnx")
    server.index["regions", 0] = ("", "")
    server.index["pair.image", 1] = ("UNAVAILABLE", "unloaded")
    server.index["pair.text", 1] = ("UNLOADING", "")
    engine = await lab.connect(server)
    told = {(it.name, it.version): (it.state, it.reason) for it in engine.models()}
    assert told == {
        ("colours", 1): (State.READY, ""),
        ("glow", 1): (State.FAILED, "Internal: no x.onnx"),
        ("pair.image", 0): (State.ABSENT, "unloaded"),
        ("pair.text", 0): (State.ABSENT, "unloading"),
        ("regions", 0): (State.ABSENT, "not asked for"),
        ("tags", 1): (State.LOADING, "loading"),
    }
    with pytest.raises(UnavailableError, match="model 'tags' is loading"):
        engine.config("tags")
    with pytest.raises(UnavailableError, match="model 'regions' is absent: not asked for"):
        engine.config("regions")


async def test_a_model_that_says_that_it_is_not_ready_is_failed(lab):
    server = lab.serve()
    engine = await lab.connect(server)
    server.not_ready.add("tags")
    await lab.until(lambda: lab.status(engine, "tags").state is State.FAILED)
    assert lab.status(engine, "colours").state is State.READY


async def test_a_configuration_that_changed_is_read_again(lab, tiny_repository, monkeypatch):
    monkeypatch.setattr(watching, "CONFIG_EVERY_S", 0.2)
    server = lab.serve()
    engine = await lab.connect(server)
    server.configs["colours", 1].max_batch_size = 8
    await lab.until(lambda: engine.max_rows("colours") == 8)


async def test_random_weights_are_refused_unless_allowed(lab):
    server = lab.serve()
    parameter = server.configs["colours", 1].parameters["kokeshi"]
    parameter.string_value = parameter.string_value.replace('"by hand"', '"untrained"')
    engine = await lab.connect(server)
    assert lab.status(engine, "colours").state is State.FAILED
    assert "untrained weights are for tests" in lab.status(engine, "colours").reason
    with pytest.raises(UnavailableError, match="untrained"):
        await engine.infer(RED)
    allowing = await lab.connect(server, allow_untrained=True)
    await allowing.infer(RED)


async def test_a_method_whose_other_graph_is_missing_is_failed(lab):
    engine = await lab.connect(lab.serve("pair.image"))
    assert "its part 'pair.text' of version 1 is missing" in lab.status(engine, "pair.image").reason


async def test_models_without_a_card_of_theirs_answer_tensors_alone(lab, tiny_repository):
    server = lab.serve("colours")
    del server.configs["colours", 1].parameters["kokeshi"]
    server.add(tiny_repository, "tags", version=7)  # whose card is of version 1
    engine = await lab.connect(server)
    await engine.infer(RED)
    await engine.infer(Request("tags", {"image": PIXELS}))
    for name in ("colours", "tags"):
        with pytest.raises(WrongTaskError, match="tensors"):
            engine.card(name)


async def test_a_card_that_contradicts_its_model_fails_it(lab):
    server = lab.serve()
    server.configs["colours", 1].output[0].dims[0] = 7
    engine = await lab.connect(server)
    assert lab.status(engine, "colours").state is State.FAILED
    assert "its card says" in lab.status(engine, "colours").reason


async def test_statistics_of_all_addresses_are_summed(lab):
    servers = [lab.serve("colours"), lab.serve("colours", "tags")]
    engine = await lab.connect(*servers)
    for _ in range(4):
        await engine.infer(RED)
    (colours,) = await engine.statistics("colours")
    assert (colours.execution_count, colours.inference_count) == (4, 8)
    assert (colours.fail.count, colours.failures[Failure.OTHER]) == (2, 2)
    assert colours.batches[2].compute_infer.ns == 14
    assert [it.name for it in engine.counted()] == ["colours", "tags"]
    with pytest.raises(ModelNotFoundError):
        await engine.statistics("none")
    with pytest.raises(ModelNotFoundError):
        await engine.statistics("colours", 3)


async def test_loading_is_passed_on_with_configuration_and_files(lab, tiny_repository):
    servers = [lab.serve(), lab.serve()]
    engine = await lab.connect(*servers)
    config = (tiny_repository / "glow" / "config.pbtxt").read_text()
    for server in servers:
        server.on_load = lambda request, context, server=server: server.add(tiny_repository, "glow")
    await engine.load("glow", config, {"1/model.onnx": b"graph"})
    for server in servers:
        (asked,) = server.loaded
        assert asked.model_name == "glow"
        assert asked.parameters["file:1/model.onnx"].bytes_param == b"graph"
        assert '"max_batch_size": 32' in asked.parameters["config"].string_param
    assert engine.max_rows("glow") == 32  # at once
    await engine.unload("glow")
    assert lab.status(engine, "glow", 0).state is State.ABSENT


@pytest.mark.parametrize(
    ("code", "details", "error"),
    [
        (grpc.StatusCode.INTERNAL, "failed to load 'm', failed to poll from model repository",
         ModelNotFoundError),
        (grpc.StatusCode.UNAVAILABLE,
         "explicit model load / unload is not allowed if polling is enabled", UnavailableError),
        (grpc.StatusCode.INVALID_ARGUMENT, "load failed for model 'm': bad", InvalidRequestError),
        (grpc.StatusCode.INTERNAL, "failed to load 'm': no /srv/m/1/model.onnx", UnavailableError),
    ],
)  # fmt: skip
async def test_what_cannot_be_loaded_is_told(lab, code, details, error):
    server = lab.serve()
    server.on_load = lambda request, context: context.abort(code, details)
    engine = await lab.connect(server)
    with pytest.raises(error) as raised:
        await engine.load("m")
    assert "/srv" not in str(raised.value)


async def test_loads_that_make_no_sense_are_refused(lab):
    engine = await lab.connect(lab.serve())
    with pytest.raises(InvalidRequestError, match="come with its configuration"):
        await engine.load("m", files={"1/model.onnx": b""})
    with pytest.raises(InvalidRequestError, match="line 1"):
        await engine.load("m", "name: [")
    with pytest.raises(ModelNotFoundError):
        await engine.unload("none")

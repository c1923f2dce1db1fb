from argparse import Namespace
from pathlib import Path

import pytest

from kokeshi.errors import WeightsError
from kokeshi.export.weights import _fetch, converted, fit, load

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
pytestmark = pytest.mark.export

STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.zeros(2)}


class Grenade:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize("container", ["state_dict", "model", "model_state_dict", "params"])
def test_containers_of_training_scripts_are_opened(container, tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"epoch": 3, container: STATE, "args": Namespace(lr=0.1)}, path)
    assert torch.equal(load(path, "").state["weight"], STATE["weight"])


def test_an_old_style_file_is_read(tmp_path):
    path = tmp_path / "w.pth.tar"
    torch.save({"state_dict": STATE}, path, _use_new_zipfile_serialization=False)
    assert set(load(path, "").state) == {"weight", "bias"}


def test_safetensors_are_read_and_hashed(tmp_path):
    from hashlib import sha256

    path = tmp_path / "w.safetensors"
    safetensors.save_file(STATE, path)
    weights = load(str(path), "")
    assert weights.sha256 == sha256(path.read_bytes()).hexdigest()
    assert weights.source == "w.safetensors"


def test_a_file_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": STATE, "extra": Grenade()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"'w.pth'.*holds more than tensors.*safetensors"):
        load(tmp_path / "w.pth", "")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_truncated_file_is_refused(suffix, tmp_path):
    path = tmp_path / f"w{suffix}"
    save = safetensors.save_file if suffix == ".safetensors" else torch.save
    save(STATE, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(WeightsError, match=f"'w{suffix}'"):
        load(path, "")


def test_a_file_without_tensors_says_what_it_holds(tmp_path):
    torch.save({"teacher": {"head": {}}, "epoch": 1}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="it holds 'teacher', 'epoch'"):
        load(tmp_path / "w.pth", "")


def test_an_unknown_suffix_is_refused(tmp_path):
    (tmp_path / "w.pkl").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"'w.pkl' has none of the known suffixes"):
        load(tmp_path / "w.pkl", "")


def test_a_hub_that_cannot_be_reached_says_so(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"cannot fetch 'x.bin' of 'nobody/nothing'"):
        load("nobody/nothing:x.bin", "")
    with pytest.raises(WeightsError, match=r"cannot fetch 'model.safetensors' of 'some/where'"):
        load("pretrained", "some/where")


def test_a_conversion_that_does_not_know_the_file_names_it(tmp_path):
    torch.save(STATE, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"'w.pth' cannot be converted: KeyError: 'encoder'"):
        converted(load(tmp_path / "w.pth", ""), lambda state: {"e": state["encoder"]})


def test_everything_that_does_not_fit_is_named():
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 2))
    state = {"0.weight": STATE["weight"].T, "0.bias": STATE["bias"], "head.bias": STATE["bias"]}
    with pytest.raises(WeightsError) as caught:
        fit(network, state, "w.pth")
    assert str(caught.value) == (
        "'w.pth' does not fit the network: 2 missing: 1.weight, 1.bias; 1 unexpected: head.bias; "
        "1 of another shape: 0.weight (3, 2) instead of (2, 3)"
    )


def test_a_long_list_of_names_is_cut_and_counted():
    state = {f"extra{index}": STATE["bias"] for index in range(50)}
    with pytest.raises(WeightsError) as caught:
        fit(torch.nn.Identity(), state, "w.pth")
    assert "50 unexpected" in str(caught.value)
    assert str(caught.value).count("extra") == 10
    assert str(caught.value).endswith(", ...")


def test_weights_that_fit_are_loaded():
    network = torch.nn.Linear(3, 2)
    fit(network, STATE, "w.pth")
    assert torch.equal(network.weight, STATE["weight"])


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Address of a web site on this machine that serves `tmp_path / "site"`."""
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words):
            pass

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    (tmp_path / "site").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "site")) as http:
        thread = Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_a_published_file_is_fetched_once_and_checked_against_its_name(site, tmp_path):
    from hashlib import sha256

    torch.save(STATE, tmp_path / "site/w.pth")
    digest = sha256((tmp_path / "site/w.pth").read_bytes()).hexdigest()
    (tmp_path / "site/w.pth").rename(tmp_path / f"site/w-{digest[:8]}.pth")
    fetched = _fetch(f"{site}/w-{digest[:8]}.pth")
    assert sha256(fetched.read_bytes()).hexdigest() == digest
    (tmp_path / f"site/w-{digest[:8]}.pth").unlink()
    assert _fetch(f"{site}/w-{digest[:8]}.pth") == fetched
    (tmp_path / "site/w-00000000.pth").write_bytes(b"another")
    with pytest.raises(WeightsError, match=r"w-00000000.pth.*invalid hash"):
        _fetch(f"{site}/w-00000000.pth")
    assert not (fetched.parent / "w-00000000.pth").exists()
    with pytest.raises(WeightsError, match="404"):
        _fetch(f"{site}/absent.pth")

"""`kokeshi export`: a real method becomes a model that `kokeshi models` shows."""

import json
import subprocess
import sys

import pytest

from kokeshi.engines.repository import scan
from kokeshi.plugin import Options
from kokeshi.registry import discover

pytestmark = pytest.mark.export
pytest.importorskip("torch")

EXPORT = ["export", "digits_cnn", "--untrained", "--repository", "models"]
THRESHOLD = {
    "dimension": 8,
    "similarity": 0.5,
    "false_match_rate": 0.01,
    "false_non_match_rate": 0.02,
    "calibrated_on": "nothing",
}


def test_a_method_becomes_a_model_with_its_labels_and_thresholds(offline, tmp_path):
    (tmp_path / "labels.txt").write_text("".join(f"digit {i}\n" for i in range(10)))
    (tmp_path / "thresholds.json").write_text(json.dumps([THRESHOLD]))
    words = ["--name", "mine", "--labels", "labels.txt", "--thresholds", "thresholds.json"]
    words += ["--max-batch-size", "16"]
    done = offline(*EXPORT, *words, "--json")
    (card,) = done.json["models"]
    assert (card["name"], card["version"]) == ("mine", 1)
    assert card["labels"][3] == "digit 3"
    assert card["thresholds"] == [THRESHOLD]
    assert card["parity"]["agreements"]
    stages = ["weights", "build", "graph main", "verify main", "publish"]
    assert [line for line in done.stderr.splitlines() if line in stages] == stages
    assert "max_batch_size: 16" in (tmp_path / "models" / "mine" / "config.pbtxt").read_text()
    (model,) = offline("models", "--repository", "models", "--json").json["models"]
    assert (model["name"], model["trained"], model["label_count"]) == ("mine", False, 10)


def test_weights_of_a_file_are_exported_under_their_licence(offline, tmp_path):
    import torch

    method, variant, _ = discover().resolve("digits_cnn")
    torch.save(method.build(Options(variant)).network.state_dict(), tmp_path / "own.pth")
    words = ["export", "digits_cnn", "--weights", "own.pth", "--weights-licence", "CC0-1.0"]
    lines = offline(*words, "--repository", "models").stdout.splitlines()
    (entry,) = scan(tmp_path / "models")
    assert entry.card().checkpoint.source == "own.pth"
    assert entry.card().checkpoint.licence == "CC0-1.0"
    assert lines[0].startswith("wrote model digits_cnn version 1: ")
    assert lines[1].startswith("  agrees with torch ")
    assert all("(bound " in line for line in lines[2:])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["export", "digits_cn", "--untrained"], "did you mean"),
        (["export", "digits_cnn"], "'digits_cnn' needs weights"),
        ([*EXPORT, "--labels", "absent"], "'absent' cannot be read"),
        ([*EXPORT, "--thresholds", "bad.json"], "'bad.json' is no list of thresholds: 0."),
    ],
)
def test_what_keeps_it_from_exporting_is_one_line(offline, tmp_path, words, told):
    (tmp_path / "bad.json").write_text('[{"dimension": 8}]')
    result = offline(*words, status=1)
    assert told in result.stderr.splitlines()[-1]
    assert not (tmp_path / "models").exists()


WITHOUT_TORCH = """
import sys
from importlib.machinery import PathFinder

class WithoutTorch(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "torch" else super().find_spec(name, path, target)

finders = [WithoutTorch if finder is PathFinder else finder for finder in sys.meta_path]
sys.meta_path[:] = finders
from kokeshi.cli import main

main()
"""


def test_without_the_extra_it_says_which_to_install(tmp_path):
    command = [sys.executable, "-c", WITHOUT_TORCH, *EXPORT]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("kokeshi: error: exporting needs torch: pip install 'kokeshi[exp")
    assert len(done.stderr.splitlines()) == 1

"""The conformance suite itself: it passes a good plugin and catches each kind of bad one."""

from dataclasses import replace

import pytest

from kokeshi.contract import ImageInput, Meaning, Output
from kokeshi.errors import PluginError, VerificationError
from kokeshi.export.conformance import (
    check_export,
    check_import,
    check_names,
    check_record,
    checks_for,
    parametrize_with_checks,
)
from kokeshi.plugin import Checkpoint, Method, Options, Paper, Part, Recipe

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.export

PAPER = Paper("On Colour", "I. Newton", 1704 + 300, "https://example.org/colour")


class Mean(torch.nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return (self.scale * torch.nn.functional.normalize(x.mean((2, 3)) + 3, dim=1),)


def build(options: Options) -> Recipe:
    module = Mean(2.0 if options.variant == "too_long" else 1.0)
    output = Output(name="embedding", meaning=Meaning.EMBEDDING, shape=(3,))
    size = options.settings.get("size", 8)
    return Recipe(module, (Part(module, ImageInput(height=size, width=size), (output,)),))


GOOD = Method("colour", PAPER, "MIT", ("colour",), build)
WEIGHTS = Checkpoint(
    "colour_large", PAPER, "colour", "colour", "the page", "MIT", settings={"size": 12}
)


def test_a_good_plugin_passes_every_check_that_needs_no_subprocess():
    check_record(GOOD)
    check_names(GOOD)
    check_export("colour", GOOD, ())


def test_a_checkpoint_is_exported_by_its_method():
    check_export("colour_large", WEIGHTS, (GOOD,))


def test_the_checks_are_named_and_limited_to_what_is_wanted():
    names = [check.name for check in checks_for(GOOD, (WEIGHTS,))]
    assert names[-1] == "colour: exports and agrees"
    assert len(checks_for(GOOD, (), exported=())) == len(names) - 1
    mark = parametrize_with_checks((GOOD, WEIGHTS)).mark
    assert mark.kwargs["ids"][-1] == "colour_large: exports and agrees"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"licence": " "}, "licence"),
        ({"paper": replace(PAPER, url="")}, "URL"),
        ({"paper": replace(PAPER, authors="")}, "authors"),
        ({"paper": replace(PAPER, year=0)}, "0"),
        ({"variants": ()}, "neither variants"),
    ],
)
def test_an_incomplete_record_is_caught(changes, words):
    with pytest.raises(PluginError, match=words):
        check_record(replace(GOOD, **changes))


def test_a_bad_name_is_caught():
    with pytest.raises(PluginError, match="'Big-Colour'"):
        check_names(replace(GOOD, variants=("Big-Colour",)))


def test_a_broken_promise_is_caught():
    with pytest.raises(VerificationError, match="norm"):
        check_export("too_long", replace(GOOD, variants=("too_long",)), ())


def test_an_import_of_torch_is_caught(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "hasty_plugin.py").write_text("import torch\ndef build(options): ...\n")
    (tmp_path / "patient_plugin.py").write_text("def build(options):\n    import torch\n")
    (tmp_path / "broken_plugin.py").write_text("def build(options): ...\n")
    import broken_plugin
    import hasty_plugin
    import patient_plugin

    (tmp_path / "broken_plugin.py").write_text("import nothing_of_the_kind\n")
    check_import(replace(GOOD, build=patient_plugin.build))
    with pytest.raises(PluginError, match=r"'hasty_plugin'.*torch"):
        check_import(replace(GOOD, build=hasty_plugin.build))
    with pytest.raises(PluginError, match="nothing_of_the_kind"):
        check_import(replace(GOOD, build=broken_plugin.build))

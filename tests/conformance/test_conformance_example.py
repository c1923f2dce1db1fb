"""The example plugin is a distribution of its own: found by its entry point, and it conforms."""

import pytest

pytest.importorskip("torch")
kokeshi_tiny_images = pytest.importorskip("kokeshi_tiny_images")

from kokeshi.export import export  # noqa: E402 - only where the export extra is
from kokeshi.export.conformance import parametrize_with_checks  # noqa: E402
from kokeshi.registry import discover  # noqa: E402

pytestmark = pytest.mark.export


@parametrize_with_checks([kokeshi_tiny_images.PLUGIN])
def test_the_example_plugin_conforms(check):
    check()


def test_the_example_plugin_comes_by_its_entry_point():
    registry = discover()
    assert registry.distributions["tiny_images"] == "kokeshi-tiny-images"


def test_a_method_without_parameters_needs_no_weights(tmp_path):
    (card,) = export("tiny_images", repository=tmp_path)
    assert card.checkpoint.trained
    assert card.outputs[0].shape == (3072,)

"""Every plugin that is installed keeps what plugins have to keep."""

import pytest

from kokeshi.export.conformance import parametrize_with_checks
from kokeshi.registry import discover

pytest.importorskip("torch")
pytestmark = pytest.mark.export

# Small enough to be exported with untrained weights on every run; the others are exported by hand.
EXPORTED = ("digits_cnn", "digits_mrl", "digits_unet", "triplet", "mobilenet_v3_small")

REGISTRY = discover()
PLUGINS = [*REGISTRY.methods.values(), *REGISTRY.checkpoints.values()]


@parametrize_with_checks(PLUGINS, EXPORTED)
def test_an_installed_plugin_conforms(check):
    check()


def test_every_name_that_is_to_be_exported_is_offered():
    assert set(EXPORTED) <= set(REGISTRY.names())

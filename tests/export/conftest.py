"""Fixtures of the export tests: weights, inputs and figures that are the same everywhere."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def keyed() -> ModuleType:
    """The module tests/golden/keyed.py: `keyed_state`, `keyed_input`, `assert_figures`..."""
    pytest.importorskip("torch")
    spec = spec_from_file_location("keyed", GOLDEN / "keyed.py")
    assert spec
    assert spec.loader
    module = sys.modules["keyed"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

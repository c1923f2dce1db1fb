"""The proof that every variant exports: how the page is made, and what it says."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from kokeshi.registry import discover

pytest.importorskip("torch")
pytestmark = pytest.mark.export

SCRIPT = Path(__file__).parents[2] / "benchmarks/exports.py"
ROW = "| `swin_tiny` | 28.3 | 113.0 | 30 | 1.9 | 2026-01-01 | embedding: 1 - cosine 0 |"


@pytest.fixture(scope="module")
def exports():
    spec = spec_from_file_location("exports", SCRIPT)
    module = sys.modules["exports"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_variant_of_a_built_in_method_is_wanted_and_the_slow_come_last(exports):
    registry = discover()
    wanted = exports.names(registry)
    methods = [registry.methods[name] for name in ("clip", "vit", "digits_cnn", "basnet")]
    assert {variant for method in methods for variant in method.variants} <= set(wanted)
    assert "tiny_images" not in wanted
    assert wanted[-len(exports.LAST) :] == list(exports.LAST)
    assert len(set(wanted)) == len(wanted)


def test_an_export_becomes_a_row_and_is_not_repeated(exports, tmp_path):
    page = tmp_path / "docs/exports.md"
    (row,) = exports.run(page, ["digits_cnn", "basnet"], ["digits_cnn"], 10)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0] == "`digits_cnn`"
    assert float(cells[1]) > 0.01
    assert float(cells[2]) == pytest.approx(4 * float(cells[1]), abs=0.2)
    assert "probabilities: max absolute difference" in cells[6]
    assert float(cells[6].split("; ")[1].partition(" apart")[0]) > 1e-4
    assert row in page.read_text()
    assert "Not run: `basnet`." in page.read_text()
    assert list(exports.run(page, ["digits_cnn", "basnet"], ["digits_cnn"], 10)) == []


def test_a_failure_is_told_and_tried_again(exports, tmp_path):
    page = tmp_path / "exports.md"
    (row,) = exports.run(page, ["digits_cn"], ["digits_cn"], 10)
    assert "failed: " in row
    assert "did you mean" in row
    assert exports.kept_rows(page) == {}


def test_when_the_time_is_up_nothing_is_started(exports, tmp_path):
    assert list(exports.run(tmp_path / "exports.md", ["basnet"], ["basnet"], 0)) == []


def test_only_rows_of_this_machine_are_kept(exports, tmp_path):
    page = tmp_path / "exports.md"
    exports.write(page, ["swin_tiny"], {"swin_tiny": ROW})
    assert exports.kept_rows(page) == {"swin_tiny": ROW}
    assert "Every variant was run." in page.read_text()
    page.write_text(page.read_text().replace("torch ", "torch 0."))
    assert exports.kept_rows(page) == {}


def test_no_export_on_the_page_failed(exports):
    page = exports.PAGE.read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows
    assert [row for row in rows if not exports.ROW.match(row)] == []

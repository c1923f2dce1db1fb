"""Plots: both formats, labelled, the same twice."""

import numpy as np
import pytest
from PIL import Image

from kokeshi.errors import SetupError
from kokeshi.plugin import Curve, Findings, Sample, settle
from kokeshi.tune import curves
from kokeshi_plugins.diagnostics import PLUGINS

matplotlib = pytest.importorskip("matplotlib")


def curve(title="a chart", y_label="height (metres)", kind="line", points=5):
    x = np.arange(points, dtype=np.float64)
    return Curve(title, "time (s)", y_label, x, np.square(x), kind)


def figure_of(monkeypatch, tmp_path, findings):
    """The figure that was drawn."""
    drawn = []
    monkeypatch.setattr(curves, "_save", lambda figure, *_: drawn.append(figure))
    curves.draw(findings, tmp_path / "plot.svg", "a title")
    return drawn[0]


@pytest.mark.parametrize("form", ["png", "svg"])
def test_the_same_findings_give_the_same_file(tmp_path, form):
    findings = Findings({}, curves=(curve(), curve("another", kind="bars")))
    for name in ("one", "other"):
        assert curves.draw(findings, tmp_path / f"{name}.{form}", "a title")
    one, other = ((tmp_path / f"{name}.{form}").read_bytes() for name in ("one", "other"))
    assert one == other
    assert one


def test_a_picture_is_not_empty(tmp_path):
    curves.draw(Findings({}, curves=(curve(),)), tmp_path / "plot.png", "a title")
    grey = np.asarray(Image.open(tmp_path / "plot.png").convert("L"))
    assert grey.shape[1] == curves.WIDTH_INCHES * curves.PNG_DPI
    assert 0.005 < (grey < 128).mean() < 0.5


def test_nothing_is_written_where_there_is_nothing_to_draw(tmp_path):
    assert not curves.draw(Findings({}), tmp_path / "plot.png", "a title")
    assert not list(tmp_path.iterdir())


def test_another_format_is_refused(tmp_path):
    with pytest.raises(SetupError, match=r"expected a plot named \*.png or \*.svg, got 'a.pdf'"):
        curves.draw(Findings({}, curves=(curve(),)), tmp_path / "a.pdf", "a title")


def test_curves_of_one_title_share_axes_and_a_legend(monkeypatch, tmp_path):
    curves = (curve(y_label="up (metres)"), curve(y_label="down (metres)"), curve("another"))
    first, second = figure_of(monkeypatch, tmp_path, Findings({}, curves=curves)).axes
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["up", "down"]
    assert first.get_ylabel() == "metres"
    assert second.get_legend() is None
    assert second.get_ylabel() == "height (metres)"


def test_lines_that_share_axes_differ_without_colour(monkeypatch, tmp_path):
    curves = tuple(curve(y_label=f"line {number} (metres)") for number in range(4))
    (axes,) = figure_of(monkeypatch, tmp_path, Findings({}, curves=curves)).axes
    looks = {(line.get_linestyle(), line.get_marker()) for line in axes.get_lines()}
    assert len(looks) == 4


def test_a_height_that_never_falls_below_nothing_is_drawn_from_nothing(monkeypatch, tmp_path):
    high = Curve("high", "x", "y", np.arange(3.0), np.array([90.0, 91, 92]))
    (axes,) = figure_of(monkeypatch, tmp_path, Findings({}, curves=(high,))).axes
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > 92


@pytest.mark.parametrize(
    ("names", "shown", "turned"),
    [
        (("cat", "$dog$", "$"), ["cat", "$dog$", "$"], 0),
        (("x" * 20, "y" * 21, "z"), ["x" * 20, "y" * 19 + "…", "z"], 0),
        (tuple(f"label {n}" for n in range(30)), [f"label {n}" for n in range(30)], 90),
    ],
)
def test_points_with_names_are_told_by_them(monkeypatch, tmp_path, names, shown, turned):
    named = Curve(
        "t", "label", "y", np.arange(len(names)) + 1.0, np.ones(len(names)), "bars", names
    )
    figure = figure_of(monkeypatch, tmp_path, Findings({}, curves=(named,)))
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == shown
    assert {text.get_rotation() for text in axes.get_xticklabels()} == {turned}
    figure.savefig(tmp_path / "drawn.png")  # which would fail at half a formula


@pytest.mark.parametrize("plugin", PLUGINS, ids=[plugin.name for plugin in PLUGINS])
def test_every_diagnostic_draws_labelled_axes(monkeypatch, tmp_path, plugin):
    random = np.random.default_rng(0)
    codes = random.integers(4, size=300)
    vectors = (random.standard_normal((4, 16))[codes] + random.standard_normal((300, 16))) / 5
    vectors[:9] = vectors[9:18] + 1e-3
    sample = Sample(
        vectors=vectors.astype(np.float32),
        labels=tuple(map(str, codes)),
        queries=vectors[:50].astype(np.float32),
        counterpart=np.tanh(vectors).astype(np.float32),
        dimensions=(4, 8, 16),
    )
    findings = plugin.measure(sample, settle(plugin, {}))
    figure = figure_of(monkeypatch, tmp_path, findings)
    assert figure.axes
    for axes in figure.axes:
        assert axes.get_xlabel()
        assert axes.get_ylabel()
        assert axes.get_title()
        assert axes.lines or axes.patches or axes.collections

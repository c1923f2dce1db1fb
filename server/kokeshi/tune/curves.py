"""Draws what a diagnostic found, as PNG or SVG.

Curves of one title share one pair of axes. Their names go to a legend, the unit in brackets to the
axis; dash and marker tell them apart as well as colour, so that a grey print reads the same.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kokeshi.errors import SetupError
from kokeshi.plugin import Curve, Findings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_INCHES: Final = 7.0
AXES_INCHES: Final = 3.4  # height of each
PNG_DPI: Final = 120
FORMATS: Final = ("png", "svg")
_COLOURS: Final = ("tab:blue", "tab:orange", "black", "tab:green")
_DASHES: Final = ("-", "--", ":", "-.")
_MARKERS: Final = ("o", "s", "^", "D")
_MOST_MARKED: Final = 30  # points of a line; more of them hide it
_POINT_AREA: Final = 6.0  # square points
NAME_CHARACTERS: Final = 20  # of a point; a longer name is cut
LINE_CHARACTERS: Final = 70  # that stand side by side below the axes; more are turned
_GRID: Final = 0.3
_HEADROOM: Final = 1.06  # of a plot above its highest point


def draw(findings: Findings, target: Path, title: str) -> bool:
    """Draws all curves below one another; the suffix of `target` names the format.

    Returns:
        Whether there was a curve to draw; without one nothing is written.

    Raises:
        SetupError: matplotlib is not installed, or the format is neither PNG nor SVG.
    """
    form = target.suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise SetupError(f"expected a plot named *.png or *.svg, got {target.name!r}")
    charts = _charts(findings.curves)
    if not charts:
        return False
    figure = _figure(len(charts))
    figure.suptitle(title)
    for axes, chart in zip(figure.subplots(len(charts), squeeze=False)[:, 0], charts, strict=True):
        _draw_chart(axes, chart)
    _save(figure, target, form)
    return True


def _figure(charts: int) -> "Figure":
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SetupError(
            f"the plot needs matplotlib: pip install 'kokeshi[tune]' ({error})"
        ) from None
    figure = Figure(figsize=(WIDTH_INCHES, AXES_INCHES * charts), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: "Figure", target: Path, form: str) -> None:
    """Without a date, and with names of our own inside: the same findings give the same file."""
    from matplotlib import rc_context

    metadata = {"Date": None} if form == "svg" else {"Software": None}
    with rc_context({"svg.hashsalt": "kokeshi"}):
        figure.savefig(target, format=form, dpi=PNG_DPI, metadata=metadata)


def _charts(curves: Sequence[Curve]) -> list[list[Curve]]:
    """Curves by title, in the order of their first."""
    charts: dict[str, list[Curve]] = {}
    for curve in curves:
        charts.setdefault(curve.title, []).append(curve)
    return list(charts.values())


def _draw_chart(axes: "Axes", chart: list[Curve]) -> None:
    from matplotlib.ticker import MaxNLocator

    for number, curve in enumerate(chart):
        _draw_curve(axes, curve, number)
    axes.set_title(chart[0].title, fontsize="medium")
    axes.set_xlabel(chart[0].x_label)
    axes.grid(visible=True, alpha=_GRID)
    axes.set_axisbelow(True)
    if all(curve.kind == "line" and curve.y.min(initial=0) >= 0 for curve in chart):
        # from 0, so that a small change looks small
        axes.set_ylim(0, _HEADROOM * max(float(curve.y.max(initial=0)) for curve in chart) or 1)
    if chart[0].names:
        _name_points(axes, chart[0])
    elif all(float(value).is_integer() for curve in chart for value in curve.x):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(chart) > 1:
        axes.set_ylabel(_split(chart[0].y_label)[1])
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(0, -0.17), ncols=len(chart))
    else:
        axes.set_ylabel(chart[0].y_label)


def _name_points(axes: "Axes", curve: Curve) -> None:
    names = [
        name if len(name) <= NAME_CHARACTERS else f"{name[: NAME_CHARACTERS - 1]}…"
        for name in curve.names
    ]
    turned = 90 if len(names) * max(map(len, names)) > LINE_CHARACTERS else 0
    # a name is no formula, whatever signs it has
    axes.set_xticks(curve.x, names, rotation=turned, fontsize="small", parse_math=False)


def _split(label: str) -> tuple[str, str]:
    """Name and unit of "name (unit)"."""
    name, _, unit = label.removesuffix(")").rpartition(" (")
    return (name, unit) if name else (label, "")


def _draw_curve(axes: "Axes", curve: Curve, number: int) -> None:
    colour = _COLOURS[number % len(_COLOURS)]
    label = _split(curve.y_label)[0]
    if curve.kind == "bars":
        gaps = curve.x[1:] - curve.x[:-1]
        width = float(gaps.min()) if len(gaps) else 1.0
        axes.bar(curve.x, curve.y, width=0.9 * width, color=colour, label=label)
    elif curve.kind == "points":
        axes.scatter(curve.x, curve.y, s=_POINT_AREA, alpha=0.4, color=colour, label=label)
    else:
        marker = _MARKERS[number % len(_MARKERS)] if len(curve.x) <= _MOST_MARKED else None
        dash = _DASHES[number % len(_DASHES)]
        axes.plot(curve.x, curve.y, dash, marker=marker, color=colour, label=label)

"""The plots of a collection: recall against time, and against the length of a prefix."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from kokeshi.errors import SetupError
from kokeshi.index.found import RecallEstimate
from kokeshi.index.recall.report import Report

SIZE_INCHES: Final = (11.0, 4.6)
FLOOR: Final = 1e-3  # of what is missed: a thousandth or less


def draw(report: Report, target: Path) -> None:
    """Draws what a collection's searches miss, as SVG.

    What is missed (1 - recall) is drawn on a logarithmic axis: .98 and .998 are as far apart as .8
    and .98. Bars are the 95 % intervals.

    Raises:
        SetupError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SetupError(
            f"the plot needs matplotlib: pip install 'kokeshi[tune]' ({error})"
        ) from None
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    FigureCanvasSVG(figure)
    ways, lengths = figure.subplots(1, 2, sharey=True)
    _draw_ways(ways, report)
    _draw_lengths(lengths, report)
    info = report.info
    figure.suptitle(
        f"{info.spec.name}: {info.count:,} items of {info.spec.dim}, {info.kind}, "
        f"k = {report.k}, {report.queries} queries"
    )
    figure.savefig(target, format="svg", metadata={"Date": None})


def _draw_ways(axes: Any, report: Report) -> None:  # noqa: ANN401 - matplotlib is untyped
    families: dict[str, list[tuple[float, float, float, float]]] = {}
    for point in report.points:
        if point.recall is None or point.typical_s is None:
            continue
        dial = point.dial
        name = f"{dial.kind} {dial.first}" if dial.first != dial.dimension else dial.kind
        line = families.setdefault("exact" if point.recall.low == 1 else name, [])
        line.append((1000 * point.typical_s, *_missed(point.recall)))
    for name, line in families.items():
        _bars(axes, sorted(line), name)
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds of one query, median")
    axes.set_ylabel("share of the true neighbours that is missed (0.001: or less)")
    _finish(axes)


def _draw_lengths(axes: Any, report: Report) -> None:  # noqa: ANN401 - matplotlib is untyped
    line = [(float(one.dimension), *_missed(one.recall)) for one in report.lengths]
    if line:
        _bars(axes, line, "prefix alone, every row compared")
        axes.set_xscale("log", base=2)
        places = [one.dimension for one in report.lengths]
        axes.set_xticks(places, [str(place) for place in places])
        axes.minorticks_off()
    axes.set_xlabel("length of the prefix")
    _finish(axes)


def _missed(recall: RecallEstimate) -> tuple[float, float, float]:
    """The share that is missed, and the ends of its interval, none below the floor."""
    return max(FLOOR, 1 - recall.value), max(FLOOR, 1 - recall.high), max(FLOOR, 1 - recall.low)


def _bars(axes: Any, line: list[tuple[float, float, float, float]], name: str) -> None:  # noqa: ANN401 - matplotlib is untyped
    places, missed, low, high = np.array(line).T
    axes.errorbar(
        places, missed, yerr=[missed - low, high - missed], marker="o", capsize=3, label=name
    )


def _finish(axes: Any) -> None:  # noqa: ANN401 - matplotlib is untyped
    axes.set_yscale("log")
    axes.set_ylim(1.0, FLOOR / 1.5)  # upside down: better is higher
    axes.grid(visible=True, which="major", alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small")

"""The plot of speed against fidelity."""

from pathlib import Path
from typing import Final

from kokeshi.card import Candidate, Tuning
from kokeshi.errors import SetupError
from kokeshi.tune.choosing import merit

_SIZE_INCHES: Final = (9.0, 4.5)
_FLOOR: Final = 1e-3  # a thousandth of what is allowed, or less
_MARKERS: Final = {"onnxruntime": "o", "openvino": "s", "cuda": "^", "tensorrt": "D"}
_COLOURS: Final = {"FP32": "tab:blue", "FP16": "tab:green", "BF16": "tab:orange", "INT8": "tab:red"}
_SIZE: Final = 50
_CHOSEN_SIZE: Final = 180
_FAINT: Final = 0.5  # of several instances
_LEAST_SHORTFALL: Final = 1e-7  # what float32 cannot tell from nothing


def draw(model: str, tuning: Tuning, target: Path) -> None:
    """Draws each candidate: rows in a second against what its worst measure lacks, as SVG.

    What a measure lacks is given as a share of what its bound allows to lack, so that one line is
    the bound of all of them.

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
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    measured = [one for one in tuning.candidates if not one.failed]
    for candidate in sorted(measured, key=lambda one: merit(one, "throughput"), reverse=True):
        chosen = candidate.name == tuning.chosen
        axes.scatter(
            merit(candidate, "throughput"),
            max(_FLOOR, shortfall(candidate)),
            s=_CHOSEN_SIZE if chosen else _SIZE,
            marker="*" if chosen else _MARKERS.get(candidate.runtime, "o"),
            color=_COLOURS.get(candidate.precision, "grey"),
            alpha=1.0 if candidate.instances == 1 else _FAINT,
            label=f"{candidate.name}{' (chosen)' if chosen else ''}",
        )
    axes.axhline(1.0, linestyle="--", linewidth=1, color="grey")
    axes.set_yscale("log")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=_FLOOR / 2)
    axes.set_xlabel("images in a second, at the best batch size")
    axes.set_ylabel("what agreement lacks / what it may lack")
    axes.set_title(f"{model} on {tuning.hardware.partition(' (')[0]}; below the line is faithful")
    axes.grid(visible=True, which="major", alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    figure.savefig(target, format="svg", metadata={"Date": None})


def shortfall(candidate: Candidate) -> float:
    """The largest share of the allowed lack that a measure has; over 1 is not faithful."""
    shares = [(1 - one.mean) / max(1 - one.bound, _LEAST_SHORTFALL) for one in candidate.fidelity]
    return max(_LEAST_SHORTFALL, *shares)

"""A plan for Triton's TensorRT backend: an engine of the best of TensorRT's candidates."""

from importlib.util import find_spec
from typing import Final

from kokeshi.card import Candidate, Tuning
from kokeshi.engines.runtimes.machine import Machine
from kokeshi.errors import SetupError
from kokeshi.tune.choosing import choose
from kokeshi.tune.ways import ways

TENSORRT: Final = "tensorrt"  # as a candidate's runtime, and as the Python package


def check(machine: Machine) -> None:
    """Sees that a plan can be built here, before minutes of measuring.

    Raises:
        SetupError: there is no GPU, or no TensorRT that ONNX Runtime and Python can use.
    """
    if not machine.gpus:
        raise SetupError("a plan is built on the GPU that is to run it, and there is none here")
    if find_spec(TENSORRT) is None or all(way.runtime != TENSORRT for way in ways(machine, 1)):
        raise SetupError(
            "a plan is built by TensorRT 10, which does not load here: "
            "pip install 'kokeshi[gpu,tensorrt]'"
        )


def planned(tuning: Tuning) -> Candidate:
    """The candidate that a plan is built as: TensorRT's best that keeps every bound.

    Raises:
        SetupError: there is none; the message says why.
    """
    tried = [one for one in tuning.candidates if one.runtime == TENSORRT]
    faithful = [one for one in tried if one.faithful]
    if not faithful:
        reasons = (f"{one.name}: {one.failed or 'not faithful'}" for one in tried)
        told = "; ".join(reasons) or "none was measured"
        raise SetupError(f"no candidate of TensorRT can be the plan: {told}")
    return choose(faithful, tuning.goal)

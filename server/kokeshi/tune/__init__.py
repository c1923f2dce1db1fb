"""Tuning: finds the fastest way to run a model on this machine that stays faithful to it."""

from kokeshi.tune.bench import BATCH_SIZES, SECONDS, Options
from kokeshi.tune.fidelity import BOUNDS, parse_bounds
from kokeshi.tune.planning import planned
from kokeshi.tune.plot import draw
from kokeshi.tune.tuning import tune

__all__ = ["BATCH_SIZES", "BOUNDS", "SECONDS", "Options", "draw", "parse_bounds", "planned", "tune"]

"""What a fit of verification measured, for whoever chooses what to trust."""

from typing import Any

from kokeshi_plugins.retrievers.verification.fit import Operation, Verification


def figures(model: Verification) -> dict[str, Any]:
    """Error rates at every length, and how far the classes disagree about one threshold.

    Returns:
        `pairs` and `sets`, by `dimension`: the `rule`, how many `references` it holds for, both
        thresholds, each with both error rates on held-out items ({value, low, high, count}), and
        the `brier` score of the probability; `sets_missing`, why there are no sets, or "";
        `consistency`, by `dimension`: `opis` and `epsilon_opis` (0: one threshold suits all classes
        alike) over thresholds from `lowest` to `highest`, and the `worst` of the `classes`. Judged
        pairs have no classes, and so none of the last.
    """
    return {
        "pairs": [_told(each) for each in model.pairs],
        "sets": [_told(each) for each in model.sets],
        "sets_missing": model.sets_missing,
        "consistency": [
            {"dimension": dimension, **found.model_dump()}
            for dimension, found in model.consistency.items()
        ],
    }


def _told(operation: Operation) -> dict[str, Any]:
    """An operation without its curve."""
    return operation.model_dump(exclude={"calibration"})

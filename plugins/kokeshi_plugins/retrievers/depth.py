"""Nested depth as well as length: which layer of an encoder may search what another layer wrote.

2D Matryoshka Sentence Embeddings (Li, Li, Li, Xie, Li; 2024), https://arxiv.org/abs/2402.14776
(its authors now call it ESE). Code: https://github.com/SeanLee97/AnglE.

An encoder so trained may stop at an early layer, and its embedding may be cut. A query of one layer
searches items of another only where that was measured to work: not every layer of the released
model is usable, whose card recommends 20 to 24 of 24. Both sides have the same length.

Nothing here stops a model early: a layer that is to be served is exported as a model of its own.
What the fit gives is the evidence that its queries may search another layer's items, and how short.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from kokeshi.errors import InvalidRequestError
from kokeshi.plugin import SHARE, Bounds, Paper, Retriever, Sample
from kokeshi_plugins.retrievers.fitted import Fitted, Rate, Record, bootstrap_mean, thinned, unit
from kokeshi_plugins.retrievers.limits import LENGTH, NEIGHBOURS, PAIRED_ITEMS
from kokeshi_plugins.retrievers.recall import recall_of

DEEPEST: Final = 10_000  # layer of an encoder

USE: Final = (
    "embed queries at the plan's query_depth (an exit is a model of its own), and search with "
    "those vectors, the collection's space and the plan's dimension"
)
PAPER: Final = Paper(
    title="2D Matryoshka Sentence Embeddings",
    authors="Li, Li, Li, Xie, Li",
    year=2024,
    url="https://arxiv.org/abs/2402.14776",
)


class Cell(Record):
    """Recall of queries of one depth among items of another, against the items' own depth."""

    query_depth: int
    item_depth: int
    dimension: int
    recall: Rate


class Grid(Fitted):
    """What was measured, for the k nearest."""

    cells: tuple[Cell, ...]
    k: int


def fit(sample: Sample, settings: Mapping[str, Any]) -> Grid:
    """One pair of depths, at every trained length; `merged` joins several.

    `sample.vectors` are items of `item_depth`, `sample.counterpart` the same as queries of
    `query_depth`.

    Raises:
        InvalidRequestError: no counterpart, or of other lengths, or fewer items than k + 2.
    """
    sample = thinned(_checked(sample), settings["most_items"])
    items, queries, k = sample.vectors, sample.counterpart, settings["k"]
    if (
        queries is None
        or k < 1
        or len(items) < k + 2
        or min(settings["query_depth"], settings["item_depth"]) < 1
    ):
        raise InvalidRequestError(
            f"expected k and both depths of at least 1 and at least {k + 2} items, got k {k!r}, "
            f"depths {settings['query_depth']!r} and {settings['item_depth']!r}, "
            f"{len(items)} items"
        )
    cells = [
        Cell(
            query_depth=settings["query_depth"],
            item_depth=settings["item_depth"],
            dimension=length,
            recall=bootstrap_mean(recall_of(unit(queries), unit(items), k, length), sample.seed),
        )
        for length in sample.trained
    ]
    return Grid(cells=tuple(cells), k=k, space=sample.space)


def _checked(sample: Sample) -> Sample:
    wanted, queries = sample.vectors.shape, sample.counterpart
    if queries is None or queries.shape != wanted:
        got = "none" if queries is None else queries.shape
        raise InvalidRequestError(
            f"expected the same items at another depth, of shape {wanted}, in a collection that "
            f"'other' names; got {got}"
        )
    return sample


def merged(grids: Sequence[Grid]) -> Grid:
    """All cells; of one measured twice, the later.

    Raises:
        InvalidRequestError: the grids are of several spaces or several k.
    """
    if len({(grid.space, grid.k) for grid in grids}) != 1:
        raise InvalidRequestError("expected grids of one space and one k")
    cells = {
        (cell.query_depth, cell.item_depth, cell.dimension): cell
        for grid in grids
        for cell in grid.cells
    }
    return grids[0].model_copy(update={"cells": tuple(cells.values())})


def plan(settings: Mapping[str, Any], model: Grid) -> dict[str, Any]:
    """The shallowest query, cut the shortest, that may search items of a depth.

    With `query_depth` or `dimension` above 0, only those are asked about.

    Returns:
        `query_depth`, `item_depth`, `dimension` and `recall`.

    Raises:
        InvalidRequestError: nothing was measured to reach the recall.
    """
    asked = {"item_depth": settings["item_depth"]}
    asked |= {name: settings[name] for name in ("query_depth", "dimension") if settings[name]}
    fitting = [
        cell
        for cell in model.cells
        if all(getattr(cell, name) == value for name, value in asked.items())
    ]
    good = [cell for cell in fitting if cell.recall.low >= settings["recall"]]
    if not good:
        measured = ", ".join(
            f"{cell.query_depth} at {cell.dimension}: {cell.recall.low:.3f}" for cell in fitting
        )
        raise InvalidRequestError(
            f"no measured query depth reaches a recall of {settings['recall']!r} among items of "
            f"depth {settings['item_depth']!r}; measured: {measured or 'nothing'}"
        )
    chosen = min(good, key=lambda cell: (cell.query_depth, cell.dimension))
    return chosen.model_dump()


def figures(model: Grid) -> dict[str, Any]:
    """`k`, the recall of every measured pair of depths at every length, and how to `use` it."""
    cells = [cell.model_dump() for cell in model.cells]
    return {"k": model.k, "cells": cells, "use": USE}


DEPTH: Final = Retriever(
    name="nested_depth",
    paper=PAPER,
    licence="Apache-2.0",
    plan=plan,
    fit=fit,
    figures=figures,
    model=Grid,
    defaults={
        "item_depth": 1,
        "query_depth": 0,
        "dimension": 0,
        "k": 10,
        "recall": 0.9,
        "most_items": 4000,
    },
    bounds={
        "item_depth": Bounds(1, DEEPEST),
        "query_depth": Bounds(0, DEEPEST),
        "dimension": Bounds(0, LENGTH.most),
        "k": NEIGHBOURS,
        "recall": SHARE,
        "most_items": PAIRED_ITEMS,
    },
    rows=(416,),
    summary="Which layer and length of an encoder may search what another layer wrote.",
)

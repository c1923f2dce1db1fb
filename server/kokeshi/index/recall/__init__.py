"""Recall that is measured, and depths that are chosen by it.

    store = Measured(Batched(EmbeddedStore(directory)))
    found = store.search(name, vectors, params, space=space)
    found.recall       # RecallEstimate(value, low, high, samples), or None: nothing measured yet
    choice = store.choose(name, params, recall_target=0.98)     # or budget_ms=5
    found = store.search(name, vectors, choice.params, space=space)
    choice.recall, choice.tail_s, choice.basis                  # what to expect, and why

`Measured` is a `Store`. A share of live searches is repeated exactly while nobody searches, and
what each way to search found of the true neighbours is kept per collection. A collection whose
searches are not exact is surveyed before anybody asks, with its own rows as queries.
"""

from kokeshi.index.recall.choosing import Choice, Chooser
from kokeshi.index.recall.curve import Curve, Keeper, Measure
from kokeshi.index.recall.dials import Dial, Setting, Want
from kokeshi.index.recall.keeping import NotesKeeper
from kokeshi.index.recall.ledger import Fading, Point
from kokeshi.index.recall.measured import Measured, Sampling
from kokeshi.index.recall.shadow import Pace
from kokeshi.index.recall.surveying import Effort

__all__ = [
    "Choice",
    "Chooser",
    "Curve",
    "Dial",
    "Effort",
    "Fading",
    "Keeper",
    "Measure",
    "Measured",
    "NotesKeeper",
    "Pace",
    "Point",
    "Sampling",
    "Setting",
    "Want",
]

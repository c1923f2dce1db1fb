"""How sure a measured recall is: sums over queries, and the interval that they give.

The neighbours of one query are found or missed together, so k neighbours of n queries tell less
than k * n independent ones. The variance is therefore taken between queries (cluster sampling with
queries as clusters, Cochran, Sampling Techniques, 3rd ed., section 9A and 6.4 for the ratio), and
gives the number of independent neighbours that would tell as much; the interval is Wilson's for
that many (Wilson 1927; Korn and Graubard 1998 for the effective number), by Student's t.
"""

import math
from dataclasses import dataclass
from typing import Final

from kokeshi.index.found import RecallEstimate

Z: Final = 1.959964  # 95 %, both sides
# Half a query that found half of its neighbours is added to the variance: where nothing was missed
# yet, it is what says that something could have been. With it 93 to 97 % of intervals hold the
# truth at recalls up to .98 from 100 queries on; above, and with fewer, up to 99 % do.
ADDED_QUERIES: Final = 0.5
ADDED_RECALL: Final = 0.5
LEAST_QUERIES: Final = 2.0


@dataclass
class Tally:
    """Weighted sums over queries; a query that found f of t neighbours has weight 1 at first.

    Attributes:
        samples: queries, those that have faded too.
        weight: sum of weights w.
        squares: sum of w * w.
        found: sum of w * f.
        true: sum of w * t.
        found_found: sum of w * w * f * f; the next two alike.
    """

    samples: int = 0
    weight: float = 0.0
    squares: float = 0.0
    found: float = 0.0
    true: float = 0.0
    found_found: float = 0.0
    found_true: float = 0.0
    true_true: float = 0.0

    def add(self, found: int, true: int) -> None:
        """Counts one query; `true` is at least 1."""
        self.samples += 1
        self.weight += 1
        self.squares += 1
        self.found += found
        self.true += true
        self.found_found += found * found
        self.found_true += found * true
        self.true_true += true * true

    def fade(self, share: float) -> None:
        """Keeps this share of the weight of all that was counted."""
        self.weight *= share
        self.found *= share
        self.true *= share
        square = share * share
        self.squares *= square
        self.found_found *= square
        self.found_true *= square
        self.true_true *= square

    @property
    def queries(self) -> float:
        """Queries of equal weight that would tell as much (Kish)."""
        return self.weight**2 / self.squares if self.squares else 0.0

    def estimate(self) -> RecallEstimate | None:
        """Share found, with its 95 % interval; None before the second query."""
        queries = self.queries
        if queries < LEAST_QUERIES or not self.true:
            return None
        value = self.found / self.true
        low, high = _wilson(value, self._independent(value, queries), _student(queries - 1))
        return RecallEstimate(value, min(low, value), max(high, value), self.samples)

    def _independent(self, value: float, queries: float) -> float:
        """Independent neighbours that would tell as much."""
        off = self.found_found - 2 * value * self.found_true + value**2 * self.true_true
        spread = max(0.0, off) / self.true**2 * queries**2 / (queries - 1)  # of one query's recall
        whole = queries + ADDED_QUERIES
        mean = (queries * value + ADDED_QUERIES * ADDED_RECALL) / whole
        second = queries * (spread + value**2) + ADDED_QUERIES * ADDED_RECALL**2
        variance = (second / whole - mean**2) / whole
        most = queries * self.true / self.weight
        # no spread at all, or less than independent neighbours would have
        return most if variance * most <= mean * (1 - mean) else mean * (1 - mean) / variance


def _wilson(share: float, count: float, z: float) -> tuple[float, float]:
    square = z * z / count
    centre = share + square / 2
    reach = z * math.sqrt((share * (1 - share) + square / 4) / count)
    return max(0.0, (centre - reach) / (1 + square)), min(1.0, (centre + reach) / (1 + square))


def _student(degrees: float) -> float:
    """The 97.5 % point of Student's t, Cornish and Fisher's expansion; 2 % off at 3 degrees."""
    return (
        Z
        + (Z**3 + Z) / (4 * degrees)
        + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * degrees**2)
        + (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / (384 * degrees**3)
    )

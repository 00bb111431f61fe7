"""Whether two runs differ by more than chance.

The test is a paired bootstrap (Koehn 2004; Efron and Tibshirani 1993, chapter 16): the difference on resamples of the items that both runs
answered, moved to mean zero, is how a difference of nothing would look; p is the share that lies as far from zero as the one seen.
Holm's procedure (1979) corrects for the number of differences that are looked at.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from llmjp_jax.evaluation.report.bootstrap import Interval, interval

RESAMPLES = 10_000  # the least p is 1/10,001: small enough for 100 rows and Holm
SIGNIFICANT = 0.05
FEWEST_ITEMS = 10  # fewer tell nothing: where all agree, resamples do not vary


@dataclasses.dataclass(frozen=True)
class Difference:
    """A run's score less the first run's on the items that both have.

    Attributes:
      value: of the difference; interval: 95 %. items: of both.
      p: two-sided; adjusted_p: by Holm over all rows of the table.
    """

    value: float
    interval: Interval | None
    items: int
    p: float
    adjusted_p: float | None = None

    @property
    def significant(self) -> bool:
        return self.adjusted_p is not None and self.adjusted_p < SIGNIFICANT


def difference(value: float, resampled: np.ndarray, items: int) -> Difference | None:
    """The difference `value` of two runs, tested with resampled differences; None where too little varies to say.

    Args:
      resampled: the difference on resamples of the common items, [resamples].
    """
    known = resampled[np.isfinite(resampled)]
    if items < FEWEST_ITEMS or len(known) < 0.99 * len(resampled):
        return None
    far = np.abs(known - known.mean()) >= abs(value) - 1e-12
    return Difference(value, interval(known), items, float((1 + far.sum()) / (1 + len(known))))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, in the same order.

    holm([0.01, 0.04, 0.03]) = [0.03, 0.06, 0.06]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def adjust(differences: Sequence[Difference | None]) -> list[Difference | None]:
    """The differences with `adjusted_p`, those that are None left out of the count."""
    tested = [found for found in differences if found is not None]
    adjusted = iter(holm([found.p for found in tested]))
    return [found and dataclasses.replace(found, adjusted_p=next(adjusted)) for found in differences]  # fmt: skip

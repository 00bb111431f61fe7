"""What scoring gives, and how it says that it cannot. The metrics themselves are the other files here."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence

from llmjp_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Score:
    """A metric's value over all samples.

    Attributes:
      value: in the metric's own scale: 0 to 1, -1 to 1 for a correlation, 0 to 100 for BLEU and chrF.
      items: one a sample, whose mean is `value`; None where the value belongs to all samples together.
    """

    value: float
    items: tuple[float, ...] | None = None


class MetricUnavailable(UserError):
    """This metric has no value here, while the others may: a package is missing, or running code was not allowed."""


class ReferenceStops(MetricUnavailable):
    """llm-jp-eval 1.3 ends its whole run on these answers with an exception, so that its score does not exist.

    Attributes:
      error: name of the exception it ends with.
    """

    def __init__(self, error: str, why: str):
        super().__init__(
            f"llm-jp-eval 1.3 has no score here, for it stops with {error}: {why}; take the sound score"
        )
        self.error = error


def mean_of(pair: Callable[[str, str], float]) -> Callable[..., Score]:
    """The metric that is the mean, over samples, of `pair(prediction, gold)`."""

    def score(predictions: Sequence[str], golds: Sequence[str], inputs: Sequence[str] | None) -> Score:  # fmt: skip
        del inputs
        items = tuple(
            float(pair(prediction, gold))
            for prediction, gold in zip(predictions, golds, strict=True)
        )
        return Score(statistics.fmean(items), items)

    return score

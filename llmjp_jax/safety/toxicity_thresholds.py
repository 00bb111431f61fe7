"""From probabilities to a decision: precision and recall over thresholds, and which threshold to take. No model here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from llmjp_jax.errors import UserError

GRID = tuple(round(0.05 * step, 2) for step in range(1, 20))


@dataclasses.dataclass(frozen=True)
class Quality:
    """How well a threshold does; a text is flagged if its probability is at least the threshold.

    Attributes:
      precision: share of the flagged that are positive; None where none is flagged.
      recall: share of the positive that are flagged; None where there is none.
      f1: 2 * flagged positives / (flagged + positives); None where there is neither.
      flagged: share of the texts.
    """

    threshold: float
    precision: float | None
    recall: float | None
    f1: float | None
    flagged: float

    def as_dict(self) -> dict[str, float | None]:
        return dataclasses.asdict(self)


def quality(probabilities: np.ndarray, positive: np.ndarray, threshold: float) -> Quality:
    """The quality of a threshold on texts with probabilities [n] and truths [n] (bool)."""
    flagged = np.asarray(probabilities) >= threshold
    positive = np.asarray(positive, bool)
    both, found, wanted = int((flagged & positive).sum()), int(flagged.sum()), int(positive.sum())
    return Quality(
        threshold=float(threshold),
        precision=both / found if found else None,
        recall=both / wanted if wanted else None,
        f1=2 * both / (found + wanted) if found + wanted else None,
        flagged=found / len(flagged) if len(flagged) else 0.0,
    )


def threshold_table(
    probabilities: np.ndarray, positive: np.ndarray, chosen: float, grid: Sequence[float] = GRID
) -> list[Quality]:
    """The quality of each threshold of `grid` and of the chosen one, rising."""
    return [quality(probabilities, positive, each) for each in sorted({*grid, chosen})]


def best_f1_threshold(probabilities: np.ndarray, positive: np.ndarray) -> float:
    """The threshold of the largest F1, half-way to the next lower probability; of equal ones the highest."""
    ordered, precision, recall, _ = _curve(probabilities, positive)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    return _between(ordered, int(np.argmax(f1)))


def threshold_for_precision(
    probabilities: np.ndarray, positive: np.ndarray, wanted: float, least_flagged: int = 1
) -> float:
    """The threshold that finds most among those with at least this precision.

    Args:
      least_flagged: of a threshold that flags fewer texts the precision is not known well enough.

    Raises:
      UserError: none has it.
    """
    if not 0 < wanted <= 1:
        raise UserError(f"precision = {wanted!r} must be more than 0 and at most 1")
    ordered, precision, recall, flagged = _curve(probabilities, positive)
    known = flagged >= least_flagged
    reached = known & (precision >= wanted)
    if not reached.any():
        best = f"{precision[known].max():.3f}" if known.any() else "unknown"
        raise UserError(
            f"no threshold has a precision of {wanted:g} on held-out texts (the best of those that flag {least_flagged} "
            f"or more has {best}); ask for less, or train on more texts"
        )
    # Fewest flagged among those with the same recall.
    place = np.flatnonzero(reached & (recall == recall[reached].max()))[0]
    return _between(ordered, place)


def _curve(probabilities, positive) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Distinct probabilities, falling, and and precision, recall and number of flagged texts where each is the lowest flagged."""
    probabilities, positive = np.asarray(probabilities, np.float64), np.asarray(positive, bool)
    if not positive.any():
        raise UserError("no text is positive, so no threshold can be chosen; give texts that are")
    order = np.argsort(-probabilities, kind="stable")
    ordered, hits = probabilities[order], np.cumsum(positive[order])
    last = np.append(ordered[1:] != ordered[:-1], True)  # equal ones are flagged together
    counts = np.flatnonzero(last) + 1
    return ordered[last], hits[last] / counts, hits[last] / positive.sum(), counts


def _between(ordered: np.ndarray, place: int) -> float:
    following = ordered[place + 1] if place + 1 < len(ordered) else 0.0
    return float((ordered[place] + following) / 2)

"""Items become shares and means: of each group, by how often the continuation stands in the corpus, by when it was last seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from llmjp_jax.search.memorization.samples import HELD_OUT, TRAINED

Item = Mapping[str, Any]
Figures = dict[str, Any]

STEP_BINS = 10
# BLEU from which LLM-jp's scripts call a continuation approximately memorised.
APPROXIMATE = 0.75
_Z95 = 1.959963984540054


def summarise(items: Sequence[Item], prefix_lengths: Sequence[int], step: int) -> dict[str, Any]:
    """The figures of items as `run_study` writes them.

    Args:
      step: of the checkpoint; last steps seen are gathered in tenths of it.

    Returns:
      {"groups": {name: {"samples", "prefixes": {length: figures}}},
       "by_frequency", "by_last_step": [{"name", "samples", "prefixes": ...}] of the trained samples,
       "auc": {length: ...}}.
      figures: {"items", "extractable": {"count", "share", "low", "high"}, "approximate" (share of BLEU >= 0.75), "matched" (mean
      tokens in a row), "bleu", "min_k": {"mean", "low", "high"}, "perplexity" the same, a geometric mean}; low and high
      are the ends of a 95 % interval, Wilson's of the share, else 1.96 standard errors from the mean, and None of one item.
      auc: how often a trained continuation has the higher Min-K% of a trained and a held-out one, each pair alike.
    """
    groups = {
        "trained": [item for item in items if item["group"] == TRAINED],
        "held_out": [item for item in items if item["group"] == HELD_OUT and not item["documents"]],
        # Of the validation split, but the same tokens stand in the training split.
        "held_out_known": [item for item in items if item["group"] == HELD_OUT and item["documents"]],
        "text": [item for item in items if item["group"] == "text"],
    }  # fmt: skip
    trained = groups["trained"]
    return {
        "groups": {
            name: _described(some, prefix_lengths) for name, some in groups.items() if some
        },
        "by_frequency": _by(trained, prefix_lengths, FREQUENCIES),
        "by_last_step": _by(trained, prefix_lengths, last_steps(step)),
        "auc": {
            str(length): _auc(_values(trained, length, "min_k"), _values(groups["held_out"], length, "min_k"))
            for length in prefix_lengths
        } if trained and groups["held_out"] else {},
    }  # fmt: skip


Bin = tuple[str, Callable[[Item], bool]]


def _between(low: int, high: float) -> Callable[[Item], bool]:
    return lambda item: not item["crosses"] and low <= item["documents"] <= high


# What crosses the end of a document stands in no document; its place in the stream is its own.
FREQUENCIES: tuple[Bin, ...] = (
    ("crosses", lambda item: item["crosses"]),
    ("0", _between(0, 0)),
    ("1", _between(1, 1)),
    ("2–9", _between(2, 9)),
    ("10–99", _between(10, 99)),
    ("100–999", _between(100, 999)),
    ("1,000 +", _between(1000, math.inf)),
)


def last_steps(step: int) -> tuple[Bin, ...]:
    """Tenths of steps 0 to `step - 1`, or each step by itself where there are no ten."""
    ends = [round(step * part / min(STEP_BINS, step)) for part in range(min(STEP_BINS, step) + 1)]

    def within(low: int, high: int) -> Callable[[Item], bool]:
        return lambda item: item["last_step"] is not None and low <= item["last_step"] < high

    return tuple(
        (f"{low:,}" if high == low + 1 else f"{low:,}–{high - 1:,}", within(low, high))
        for low, high in zip(ends, ends[1:], strict=False)
    )


def _by(items: Sequence[Item], prefix_lengths: Sequence[int], bins: Sequence[Bin]) -> list[Figures]:
    """The bins that have items, in order."""
    found = []
    for name, belongs in bins:
        some = [item for item in items if belongs(item)]
        if some:
            found.append({"name": name} | _described(some, prefix_lengths))
    return found


def _described(items: Sequence[Item], prefix_lengths: Sequence[int]) -> Figures:
    answers = {
        str(length): [item["prefixes"][str(length)] for item in items if str(length) in item["prefixes"]]
        for length in prefix_lengths
    }  # fmt: skip
    return {
        "samples": len(items),
        "prefixes": {length: _figures(some) for length, some in answers.items() if some},
    }


def _figures(answers: Sequence[Mapping[str, Any]]) -> Figures:
    extractable = sum(answer["extractable"] for answer in answers)
    low, high = wilson(extractable, len(answers))
    logarithms = _mean([math.log(answer["perplexity"]) for answer in answers])
    return {
        "items": len(answers),
        "extractable": {
            "count": extractable,
            "share": extractable / len(answers),
            "low": low,
            "high": high,
        },
        "approximate": sum(answer["bleu"] >= APPROXIMATE for answer in answers) / len(answers),
        "matched": sum(answer["matched"] for answer in answers) / len(answers),
        "bleu": _mean([answer["bleu"] for answer in answers]),
        "perplexity": {
            name: None if value is None else math.exp(value) for name, value in logarithms.items()
        },
        "min_k": _mean([answer["min_k"] for answer in answers]),
    }


def wilson(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 'Probable Inference', 1927): of 0 of n it does not end at 0."""
    share, spread = count / total, _Z95**2 / total
    middle = (share + spread / 2) / (1 + spread)
    half = _Z95 / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / total / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def _mean(values: Sequence[float]) -> Figures:
    mean = float(np.mean(values))
    if len(values) == 1:
        return {"mean": mean, "low": None, "high": None}
    half = _Z95 * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return {"mean": mean, "low": mean - half, "high": mean + half}


def _values(items: Sequence[Item], length: int, name: str) -> list[float]:
    return [
        item["prefixes"][str(length)][name] for item in items if str(length) in item["prefixes"]
    ]


def _auc(left: Sequence[float], right: Sequence[float]) -> float:
    """The share of pairs in which the left value is the higher; equal ones count half."""
    ordered = np.sort(right)
    below = np.searchsorted(ordered, left, "left") + np.searchsorted(ordered, left, "right")
    return float(below.sum() / 2 / (len(left) * len(right)))
